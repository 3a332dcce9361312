"""`lmrun act` and `lmrun chat --tools` against a server that plays one."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import msgspec
import pytest

from lmrun.chat.events import (
    PromptProgress,
    ReasoningDelta,
)
from lmrun.cli.commands.act import render_question
from lmrun.reconcile.status import AgentStatus, ToolsStatus, ToolTrouble
from lmrun.tools.act.events import (
    ActEnd,
    CallFailed,
    CallSucceeded,
    RoundStart,
)
from lmrun.tools.act.requests import RunDetail
from lmrun.tools.act.stream import RunStarted
from lmrun.tools.policy.gate import Question
from tests.cli.conftest import COMMAND, Run
from tests.cli.told_runs import ACT, ADDING, ASKING, QUESTION, USAGE, make_run
from tests.support.control import FakeServer, refusal
from tests.support.screen import Screen


class TestAct:
    def test_a_pipe_gets_the_answer_alone(self, lmrun: Run, server: FakeServer) -> None:
        server.run = ADDING

        result = lmrun("act", "-t", "add", "-t", "mcp/time/*", "Add 2", "and 3")

        assert (result.code, result.out) == (0, "It is 5.\n")
        assert result.err == "✓ add(a=2, b=3) → 5\n"
        assert server.bodies(ACT) == [
            {
                "model": "assistant",
                "messages": [{"role": "user", "content": "Add 2 and 3"}],
                "prediction": {},
                "tools": ["add", "mcp/time/*"],
                "approvals": False,
                "elicitations": False,
                "stream": True,
            }
        ]

    def test_an_agent_is_asked_with_settings(self, lmrun: Run, server: FakeServer) -> None:
        server.run = ADDING

        lmrun(
            *("act", "--agent", "helper", "--system", "Be kind.", "--max-rounds", "3"),
            *("--temperature", "0", "--max-tokens", "9", "--seed", "7", "Add"),
        )

        (body,) = server.bodies(ACT)
        assert "model" not in body
        assert body["agent"] == "helper"
        assert body["messages"][0] == {"role": "system", "content": "Be kind."}
        assert body["prediction"] == {"temperature": 0, "max_tokens": 9, "seed": 7}
        assert body["limits"] == {"max_rounds": 3}

    def test_an_agent_can_be_named_as_a_model(self, lmrun: Run, server: FakeServer) -> None:
        agents = (AgentStatus("helper", "assistant", ("add",)),)
        tools = ToolsStatus(agents, declared=1, missing=0, servers=0, troubles=())
        server.status = msgspec.structs.replace(server.status, tools=tools)
        server.run = ADDING

        assert lmrun("act", "-m", "helper", "Add").code == 0
        (body,) = server.bodies(ACT)
        assert (body["model"], "agent" in body) == ("helper", False)

        result = lmrun("act", "-m", "helpr", "Add")
        assert result.code == 1
        assert "Did you mean helper?" in result.err

    def test_a_preset_and_context_are_named(self, lmrun: Run, server: FakeServer) -> None:
        server.run = ADDING

        note, text = "mcp/docs/note://a", "mcp/docs/file:///b.txt"
        lmrun("act", "--preset", "review", "--context", note, "--context", text, "Add")
        lmrun("act", "--agent", "helper", "--context", note, "Add")
        lmrun("chat", "--context", note, "Add")

        first, agent, chat = server.bodies(ACT)
        assert (first["preset"], first["context"]) == ("review", [note, text])
        assert (agent["agent"], agent["context"], "preset" in agent) == ("helper", [note], False)
        assert (chat["context"], "tools" in chat) == ([note], False)

    def test_tools_that_were_not_there_are_told_at_the_end(
        self, lmrun: Run, server: FakeServer
    ) -> None:
        troubles = tuple(
            ToolTrouble(subject, "Some", f"{subject} is broken.")
            for subject in ("tools.add", "tools.other", "mcp_servers.time", "mcp_servers.docs")
        )
        agents = (AgentStatus("helper", "assistant", ("mcp/docs/*",)),)
        tools = ToolsStatus(agents, declared=2, missing=2, servers=2, troubles=troubles)
        server.status = msgspec.structs.replace(server.status, tools=tools)
        server.run = ADDING

        def told(*arguments: str) -> list[str]:
            lines = lmrun("act", *arguments, "Add").err.splitlines()
            return [line.split(":")[0] for line in lines if line.startswith("!")]

        assert told("-t", "add", "-t", "mcp/ti*/now") == ["! tools.add", "! mcp_servers.time"]
        assert told("--agent", "helper") == told("-m", "helper") == ["! mcp_servers.docs"]
        assert told("-t", "*", "--json") == told() == []
        server.run = [*ADDING[:9], refusal("it has run out of calls")]
        assert len(told("-t", "*")) == 4, "however it ended"

    @pytest.mark.parametrize("more", [("-t", "add"), ("--preset", "review")])
    def test_an_agent_brings_its_own_model_and_tools(
        self, lmrun: Run, server: FakeServer, more: tuple[str, str]
    ) -> None:
        result = lmrun("act", "--agent", "helper", *more, "Add")

        assert result.code == 2
        assert "an agent has its own model and tools" in result.err

    def test_a_task_is_needed(self, lmrun: Run, server: FakeServer) -> None:
        assert lmrun("act").code == 2

    def test_json_is_the_events_as_they_come(self, lmrun: Run, server: FakeServer) -> None:
        server.run = ADDING

        result = lmrun("act", "-t", "add", "--json", "Add")

        events = [json.loads(line) for line in result.out.splitlines()]
        assert result.code == 0
        assert [event["type"] for event in events][:3] == [
            "run.start",
            "round.start",
            "message.delta",
        ]
        assert events[-1]["text"] == "It is 5."
        assert result.err == ""

    def test_what_failed_is_told_and_the_run_goes_on(self, lmrun: Run, server: FakeServer) -> None:
        failed = CallFailed(0, "c1", "add", "denied", "denied: nobody\nto ask")
        server.run = [*ADDING[:6], failed, *ADDING[8:]]

        result = lmrun("act", "Add")

        assert (result.code, result.out) == (0, "It is 5.\n")
        assert result.err == "✗ add(a=2, b=3) → denied: nobody to ask\n"

    def test_a_run_that_fails_is_an_error(self, lmrun: Run, server: FakeServer) -> None:
        server.run = [*ADDING[:9], refusal("it has run out of calls", code="agent_budget_exceeded")]

        result = lmrun("act", "Add")

        assert (result.code, result.out) == (1, "")
        assert result.err.splitlines()[-1] == "Error: it has run out of calls"

    def test_an_answer_that_breaks_off_is_an_error(self, lmrun: Run, server: FakeServer) -> None:
        server.run = ADDING[:9]

        result = lmrun("act", "Add")

        assert result.code == 1
        assert "before the run had ended" in result.err

    def test_an_answer_that_was_cut_off_says_so(self, lmrun: Run, server: FakeServer) -> None:
        server.run = [*ADDING[:-1], ActEnd("It is", "maxPredictedTokensReached", 2, 1, USAGE)]

        result = lmrun("act", "Add")

        assert (result.code, result.out) == (0, "It is\n")
        assert "cut off" in result.err

    def test_background_prints_the_name_and_leaves(self, lmrun: Run, server: FakeServer) -> None:
        server.answers[ACT] = RunDetail(make_run(background=True), 0, 0, USAGE, ())

        result = lmrun("act", "--background", "-t", "add", "Add")

        assert (result.code, result.out) == (0, "run_1\n")
        (body,) = server.bodies(ACT)
        assert body["background"] is True
        assert "stream" not in body

    def test_without_a_server_there_is_a_hint(self, lmrun: Run) -> None:
        result = lmrun("act", "Add")

        assert result.code == 1
        assert result.err.splitlines()[1] == "Hint: `lmrun apply PROFILE` starts it."


def test_chat_with_tools_is_a_run(lmrun: Run, server: FakeServer) -> None:
    server.run = ADDING

    result = lmrun("chat", "--tools", "add", "Add")

    assert (result.code, result.out) == (0, "It is 5.\n")
    assert "add(a=2, b=3) → 5" in result.err
    assert server.bodies(ACT)[0]["tools"] == ["add"]


class TestAtATerminal:
    @pytest.mark.parametrize(
        ("typed", "reply"),
        [("y\n", "once"), ("s\n", "session"), ("always\n", "always"), ("\n", "no"), ("x\n", "no")],
    )
    def test_it_is_asked_what_the_policy_does_not_allow(
        self, server: FakeServer, environment: dict[str, str], typed: str, reply: str
    ) -> None:
        server.run = ASKING
        server.answers[f"{ACT}/run_1/approve"] = {"call": "c1", "reply": reply}
        screen = Screen([*COMMAND, "act", "-t", "add", "Add"], {**environment, "TERM": "xterm"})
        screen.read_until("Run it?")
        assert "create_file" in screen.text and "a.txt" in screen.text
        assert "Creates a file." in screen.text and "it writes" in screen.text
        screen.type(typed)

        assert screen.end() == 0
        assert server.bodies(ACT)[0]["approvals"] is True
        assert server.bodies(f"{ACT}/run_1/approve") == [{"call": "c1", "reply": reply}]

    def test_text_and_calls_are_seen_as_they_come(
        self, server: FakeServer, environment: dict[str, str]
    ) -> None:
        server.run = ADDING
        screen = Screen([*COMMAND, "act", "Add"], {**environment, "TERM": "xterm"})

        assert screen.end() == 0
        text = screen.text.replace("\r", "")
        assert "Let me see.\n" in text
        assert "\x1b[32m✓\x1b[0m add(a=2, b=3) → 5" in text
        assert "It is 5.\n" in text
        assert screen.text.rfind("\x1b[?25h") > screen.text.rfind("\x1b[?25l"), "the cursor is back"

    def test_it_is_seen_what_a_run_waits_for(
        self, server: FakeServer, environment: dict[str, str]
    ) -> None:
        go_on = threading.Semaphore(0)

        def wait() -> None:
            assert go_on.acquire(timeout=20)

        seen: list[tuple[Any, str]] = [
            (RunStarted(make_run()), "waiting for assistant to be ready"),
            (RoundStart(0, False), "waiting for the first word"),
            (PromptProgress(10, 90), "reading the prompt (10 of 90 tokens)"),
            (ReasoningDelta("Well."), "thinking"),
        ]
        server.run = [it for event, _ in seen for it in (event, wait)] + [*ADDING[2:]]
        screen = Screen([*COMMAND, "act", "Add"], {**environment, "TERM": "xterm"})
        for _, words in seen:
            screen.read_until(words)
            go_on.release()

        assert screen.end() == 0
        assert "It is 5." in screen.text
        assert screen.text.rfind("\x1b[?25h") > screen.text.rfind("\x1b[?25l"), "the cursor is back"

    def test_tools_cannot_steer_the_terminal(
        self, server: FakeServer, environment: dict[str, str]
    ) -> None:
        evil = CallSucceeded(0, "c1", "add", "5\x1b]0;owned\x07", 0.01)
        server.run = [*ADDING[:6], evil, *ADDING[8:]]
        screen = Screen([*COMMAND, "act", "Add"], {**environment, "TERM": "dumb"})

        assert screen.end() == 0
        assert "→ 5]0;owned" in screen.text
        assert "\x1b" not in screen.text

    def test_questions_of_another_client_are_answered(
        self, server: FakeServer, environment: dict[str, str]
    ) -> None:
        detail = RunDetail(make_run(), 1, 1, USAGE, (), questions=(QUESTION.question,))
        server.answers[f"{ACT}/run_1"] = detail
        server.answers[f"{ACT}/run_1/approve"] = {"call": "c1", "reply": "once"}
        screen = Screen([*COMMAND, "runs", "approve", "run_1"], {**environment, "TERM": "xterm"})
        screen.read_until("Run it?")
        assert "create_file" in screen.text and "a.txt" in screen.text
        screen.type("y\n")

        assert screen.end() == 0
        assert server.bodies(f"{ACT}/run_1/approve") == [{"call": "c1", "reply": "once"}]


def test_a_question_shows_every_argument_whole_and_nothing_unseen() -> None:
    long = "x" * 5000
    question = Question(
        "c1", "run", "Runs.", {"text": f"a\u202eb\u200b\x1b[2J\n{long}", "n": [1, {"b": "\u2066"}]}
    )

    assert re.sub(r"\x1b\[[0-9;]*m", "", render_question(question)).splitlines() == [
        "? run",
        "  text a<U+202E>b<U+200B><U+001B>[2J",
        f"    {long}",
        '  n [1,{"b":"<U+2066>"}]',
        "  Runs.",
    ]
