"""MCP servers that ask, on a real server: a person over the control socket, a declared model within
its budget; whichever revision of the protocol they speak."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from lmrun.errors import LmrunError
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed, ElicitationEvent
from tests.support.profiles import posting, write_profile, write_script
from tests.support.screen import Screen
from tests.support.server import Server, serving
from tests.tools.mcp.support import FAKE_SERVER

SDK_SERVER = Path(__file__).parents[1] / "support" / "mcp_sdk_server.py"
NEWEST = [sys.executable, "-I", str(SDK_SERVER), "stdio"]
ACT = "/lmrun/v1/act"
SAMPLING = {"model": "answerer", "max_tokens": 3, "token_budget": 100}

T = TypeVar("T")


def offer(command: list[str], *tools: str, **fields: Any) -> dict[str, Any]:
    allowed = {"allow": list(tools), "policy": dict.fromkeys(tools, "allow")}
    return {"command": command, "tools": allowed, **fields}


SERVERS = {
    "newest": offer(NEWEST, "order", "guess", elicitation=True, sampling=SAMPLING),
    "older": offer([*FAKE_SERVER, "asks_somebody"], "poke", elicitation=True),
    "older_still": offer([*FAKE_SERVER, "asks_a_model"], "poke", sampling=SAMPLING),
    "closed": offer(NEWEST, "order", "guess"),
}


def reply(prompt: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """The model calls the tool when it is asked so."""
    call = json.dumps({"name": tool, "arguments": arguments})
    return {"match": f"{prompt}<", "pieces": [f"[TOOL_REQUEST]{call}[END_TOOL_REQUEST]"]}


REPLIES = [
    {"match": "END_TOOL_RESULT", "pieces": ["It is done."]},
    reply("Order", "newest__order", item="shoes"),
    reply("Order there", "closed__order", item="shoes"),
    reply("Guess", "newest__guess", question="How many?"),
    reply("Guess there", "closed__guess", question="How many?"),
    reply("Poke", "older__poke"),
    reply("Sample", "older_still__poke"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    script = write_script(home / "a.scripted.json", *REPLIES)
    answers = write_script(home / "b.scripted.json", {"pieces": ["4", "2", "!", "!", "!"]})
    profile = write_profile(
        home / "p.yaml",
        {"a": {"source": f"file:{script}"}, "answerer": {"source": f"file:{answers}"}},
        mcp_servers=SERVERS,
    )
    with serving(home, profile) as running:
        for name in SERVERS:
            approve(running, name)
        yield running


def approve(server: Server, name: str) -> None:
    """As somebody does who has looked at it."""
    shown = server.control.review_mcp(name)
    assert shown.identity.standing == "new"
    shown = server.control.approve_mcp(name, shown.identity.digest, {})
    assert shown.problem is None, shown.problem
    server.control.approve_mcp(name, None, {it.name: it.digest for it in shown.tools})


def act(server: Server, prompt: str) -> str:
    """What the model read of the tool that it called."""
    body = {"model": "a", "tools": ["mcp/*/*"], "prompt": prompt}
    with posting(server.address, body, ACT) as response:
        run = json.load(response)
        assert response.status == 200, run
    assert run["summary"]["state"] == "completed", run
    (result,) = (it for it in run["messages"] if it["role"] == "tool")
    return str(result["content"])


def beside(work: Callable[..., T], *arguments: Any) -> Future[T]:
    """Done in a thread that ends with it."""
    pool = ThreadPoolExecutor(1)
    done = pool.submit(work, *arguments)
    pool.shutdown(wait=False)
    return done


def next_question(events: Iterator[ElicitationEvent]) -> ElicitationAsked:
    return next(event for event in events if isinstance(event, ElicitationAsked))


@pytest.mark.parametrize(
    ("prompt", "name", "message"),
    [("Order", "newest", "Which size of shoes?"), ("Poke", "older", "Which size?")],
)
def test_somebody_answers_over_the_control_socket(
    server: Server, prompt: str, name: str, message: str
) -> None:
    with server.control.elicitations() as events:
        run = beside(act, server, prompt)
        asked = next_question(events)
        assert (asked.server, asked.message) == (name, message)
        assert asked.schema is not None and list(asked.schema["properties"]) == ["size"]
        with pytest.raises(LmrunError, match='`size` is "large": it must be an integer'):
            server.control.answer_elicitation(asked.id, "accept", {"size": "large"})
        server.control.answer_elicitation(asked.id, "accept", {"size": 44})
        assert next(events) == ElicitationClosed(asked.id)
        assert ("in size 44" in run.result(20)) or ('"size": 44' in run.result(20))


@pytest.mark.parametrize(("prompt", "words"), [("Order", "was decline"), ("Poke", '"decline"')])
def test_nobody_there_means_no(server: Server, prompt: str, words: str) -> None:
    assert words in act(server, prompt)


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_somebody_says_no(server: Server, action: Literal["decline", "cancel"]) -> None:
    with server.control.elicitations() as events:
        run = beside(act, server, "Poke")
        server.control.answer_elicitation(next_question(events).id, action, {})
        assert f'{{"action": "{action}"}}' in run.result(20)


def test_a_run_that_is_cancelled_gives_its_question_up(server: Server) -> None:
    with server.control.elicitations() as events:
        body = {"model": "a", "tools": ["mcp/newest/*"], "prompt": "Order"}
        run = json.loads(server.control.begin(body))["summary"]["id"]
        asked = next_question(events)
        server.control.cancel(run)
        assert next(events) == ElicitationClosed(asked.id)
        with pytest.raises(LmrunError, match="No question"):
            server.control.answer_elicitation(asked.id, "accept", {"size": 44})
    assert "was decline" in act(server, "Order"), "the server still works"


def test_somebody_answers_at_a_terminal(server: Server) -> None:
    environment = {**os.environ, "LMRUN_HOME": str(server.home.root), "TERM": "dumb"}
    screen = Screen([sys.executable, "-P", "-m", "lmrun", "mcp", "answer"], environment)
    try:
        screen.read_until("Waiting for questions")
        run = beside(act, server, "Order")
        screen.read_until("newest asks: Which size of shoes?")
        screen.read_until("Answer it? [y]es, [N]o, [c]ancel:")
        screen.type("y\n")
        screen.read_until("size (Size; an integer):")
        screen.type("38\n")
        assert "shoes in size 38" in run.result(20)
    finally:
        screen.process.send_signal(signal.SIGINT)
        screen.end()


@pytest.mark.parametrize("prompt", ["Guess", "Sample"])
def test_a_declared_model_answers_until_its_budget_is_used_up(server: Server, prompt: str) -> None:
    said = [act(server, prompt) for _ in range(5)]
    answered = [it for it in said if "42!" in it]
    assert said[: len(answered)] == answered and 1 <= len(answered) < 5, said
    assert all("answerer" in it and "42!!" not in it for it in answered), "longer than allowed"
    assert all("the budget of 100 tokens is used up" in it for it in said[len(answered) :]), said


@pytest.mark.parametrize(
    ("prompt", "capability"), [("Order there", "elicitation"), ("Guess there", "sampling")]
)
def test_whoever_is_not_declared_to_ask_is_told_so_and_may_not(
    server: Server, prompt: str, capability: str
) -> None:
    with server.control.elicitations():
        said = act(server, prompt)
    assert "Client did not declare" in said and f"{capability} capability" in said


def test_somebody_who_waits_for_questions_keeps_no_server_from_ending(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Server(tmp_path_factory.mktemp("home")) as server:
        with server.control.elicitations() as events:
            server.process.terminate()
            assert list(events) == []
        assert server.process.wait(20) == 0
