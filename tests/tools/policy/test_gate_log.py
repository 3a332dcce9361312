"""What the gate writes down: every decision before anything is run, and what came of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmrun.tools.policy.arguments import digest_arguments
from lmrun.tools.policy.gate import Question, Reply, Verdict
from lmrun.tools.tool import Caller, ToolResult
from tests.profile.support import load
from tests.support.policies import ALLOWING, DENYING, House, Somebody, a_tool, a_wish


def test_a_call_that_is_given_up_while_somebody_is_asked_is_written_down(house: House) -> None:
    async def give_up() -> None:
        is_asked = asyncio.Event()

        async def think(question: Question) -> Reply:
            is_asked.set()
            await asyncio.Event().wait()
            return "once"

        task = asyncio.create_task(house.gate.decide(a_wish(), think))
        await asyncio.wait_for(is_asked.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    (line,) = house.lines()
    assert (line["allowed"], line["reason"]) == (False, "the call was given up")


def test_arguments_without_end_are_denied_and_written_down(house: House) -> None:
    value: Any = 0
    for _ in range(100_000):
        value = [value]
    wish = a_wish(a_tool(policy="allow"), {"a": value})
    assert house.decide(wish) == Verdict(False, "its arguments are nested too deeply")
    assert house.lines()[0]["arguments"] is None


def test_the_log_says_what_was_decided_and_what_came_of_it(house: House) -> None:
    caller = Caller("act", "ci", "m", "helper", "run-7")
    wish = a_wish(a_tool(), {"path": "secret"}, caller, is_tainted=True)
    verdict = house.decide(wish, Somebody("session"))
    house.gate.note(wish, verdict, ToolResult("short", "failed", size=70_000), 0.0125)
    house.gate.note(wish, verdict, None, 1)
    decision, result, cancelled = house.lines()
    digest = digest_arguments({"path": "secret"})
    head = {
        "door": "act",
        "key": "ci",
        "agent": "helper",
        "model": "m",
        "run": "run-7",
        "call": "call-1",
        "tool": "rm",
        "arguments": digest,
    }
    assert {name: decision[name] for name in head} == head
    assert {name: result[name] for name in head} == head
    assert decision["event"] == "decision"
    assert (decision["decision"], decision["allowed"]) == ("ask", True)
    assert (decision["answer"], decision["tainted"], decision["rule"]) == ("session", True, None)
    assert result["event"] == "result"
    assert (result["error"], result["bytes"], result["ms"]) == ("failed", 70_000, 12.5)
    assert (cancelled["error"], cancelled["bytes"]) == ("cancelled", 0)
    assert "secret" not in (house.folder / "audit.jsonl").read_text()


def test_the_log_names_the_rule_and_says_all_of_a_denied_call_at_once(house: House) -> None:
    house.loaded = load(DENYING)
    wish = a_wish()
    house.gate.note(wish, house.decide(wish), None, 0)
    (line,) = house.lines()
    assert (line["decision"], line["allowed"], line["rule"]) == ("deny", False, 0)
    assert line["reason"] == "never"


def test_what_somebody_else_denied_is_in_the_log_too(house: House) -> None:
    house.gate.note(a_wish(), Verdict(False, "the user has declined"), None, 0)
    (line,) = house.lines()
    assert (line["event"], line["allowed"], line["answer"]) == ("decision", False, None)
    assert line["reason"] == "the user has declined"


def test_a_question_that_cannot_be_asked_is_in_the_log(house: House) -> None:
    async def fail(question: Question) -> Reply:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        house.decide(a_wish(), fail)
    (line,) = house.lines()
    assert (line["allowed"], line["answer"]) == (False, "no answer")


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.support.policies import ALLOWING, DENYING, House, Somebody, a_tool, a_wish
from tests.profile.support import load

house = House(Path(sys.argv[1]), load(ALLOWING))
assert house.decide(a_wish()).is_allowed
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_call_that_ends_the_server_is_in_the_log(house: House) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", KILLED, str(house.folder)]

    done = subprocess.run(command, cwd=root, timeout=30)

    assert done.returncode == -signal.SIGKILL
    (line,) = house.lines()
    assert (line["event"], line["allowed"], line["rule"]) == ("decision", True, 0)


def test_a_decision_costs_far_less_than_a_call(house: House) -> None:
    house.loaded = load(ALLOWING)

    async def decide_often() -> float:
        loop = asyncio.get_running_loop()
        wish = a_wish(a_tool(), {"path": "/tmp/x"})
        times = []
        for _ in range(300):
            begin = loop.time()
            verdict = await house.gate.decide(wish, None)
            house.gate.note(wish, verdict, ToolResult("done"), 0)
            times.append(loop.time() - begin)
        return sorted(times)[len(times) // 2]

    assert asyncio.run(decide_often()) < 0.001
