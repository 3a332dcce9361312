"""Questions at the terminal in which a run goes on: of MCP servers and of the policy, on a real
server, whoever answers them first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lmrun.tools.mcp.reports import ElicitationAsked
from tests.support.profiles import posting, write_profile, write_script
from tests.support.screen import Screen
from tests.support.server import Server, eventually, serving
from tests.tools.mcp.support import FAKE_SERVER

ACT = "/lmrun/v1/act"
COMMAND = [sys.executable, "-P", "-m", "lmrun"]
SDK_SERVER = Path(__file__).parents[1] / "support" / "mcp_sdk_server.py"
FUNCTION = '''
def note(text: str) -> str:
    """Writes a note."""
    return "noted"
'''
PAGE = {"mode": "url", "url": "https://example.com/x", "elicitationId": "1"}
GONE = "It needs no answer any more."


def offer(command: list[str], tool: str) -> dict[str, Any]:
    allowed = {"allow": [tool], "policy": {tool: "allow"}}
    return {"command": command, "tools": allowed, "elicitation": True}


SERVERS = {
    "older": offer([*FAKE_SERVER, "asks_somebody"], "poke"),
    "newest": offer([sys.executable, "-I", str(SDK_SERVER), "stdio"], "order"),
}


def reply(prompt: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """The model calls the tool when it is asked so."""
    call = json.dumps({"name": tool, "arguments": arguments})
    return {"match": prompt, "pieces": [f"[TOOL_REQUEST]{call}[END_TOOL_REQUEST]"]}


RESULT = "END_TOOL_RESULT"
REPLIES = [
    {"match": f"Poke and note<.*{RESULT}.*{RESULT}", "pieces": ["It is done."]},
    reply(f"Poke and note<.*{RESULT}", "note", text="a"),
    {"match": RESULT, "pieces": ["It is done."]},
    reply("Poke(?: and note)?<", "older__poke"),
    reply("Order<", "newest__order", item="shoes"),
    reply("Go<", "older__poke", **PAGE, requestedSchema=None, message="Log in there."),
    reply("Note<", "note", text="a"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    (home / "functions.py").write_text(FUNCTION)
    script = write_script(home / "a.scripted.json", *REPLIES)
    profile = write_profile(
        home / "p.yaml",
        {"a": {"source": f"file:{script}"}},
        mcp_servers=SERVERS,
        tools={"note": {"python": "functions:note", "policy": "ask", "effects": []}},
    )
    with serving(home, profile) as running:
        for name in SERVERS:
            identity = running.control.review_mcp(name).identity.digest
            shown = running.control.approve_mcp(name, identity, {})
            running.control.approve_mcp(name, None, {it.name: it.digest for it in shown.tools})
        yield running


def environment(server: Server) -> dict[str, str]:
    return {**os.environ, "LMRUN_HOME": str(server.home.root), "TERM": "dumb"}


@contextmanager
def acting(server: Server, prompt: str, *options: str, command: str = "act") -> Iterator[Screen]:
    """The command at a terminal, which has ended after the block."""
    tools = [("-t" if command == "act" else "--tools", it) for it in ("mcp/*/*", "note")]
    words = [*COMMAND, command, "-m", "a", *(word for pair in tools for word in pair)]
    screen = Screen([*words, *options, prompt], environment(server))
    try:
        yield screen
    finally:
        if screen.process.poll() is None:
            screen.process.kill()
        screen.process.wait(10)


def say(screen: Screen, words: str, answer: str) -> None:
    """Wait for words, then type. Words count once."""
    screen.read_until(words)
    screen.text = screen.text.partition(words)[2]
    screen.type(answer)


def finish(screen: Screen) -> str:
    """What it shows of the end of a run that ends well."""
    code = screen.end()
    assert (code, "It is done." in screen.text) == (0, True), screen.text
    return screen.text


@pytest.mark.parametrize(
    ("prompt", "asks", "field", "result"),
    [
        ("Poke", "? older asks: Which size?", "size (an integer):", '"size": 38'),
        ("Order", "? newest asks: Which size of shoes?", "size (Size; an integer):", "size 38"),
    ],
)
@pytest.mark.parametrize("command", ["act", "chat"])
def test_a_form_is_filled_in_where_the_run_goes_on(
    server: Server, command: str, prompt: str, asks: str, field: str, result: str
) -> None:
    with acting(server, prompt, command=command) as screen:
        screen.read_until(asks)
        say(screen, "Answer it? [y]es, [N]o, [c]ancel:", "y\n")
        say(screen, field, "large\n")
        say(screen, "It is an integer.", "38\n")
        assert result in finish(screen)


@pytest.mark.parametrize(
    ("typed", "action"), [("n\n", "decline"), ("\n", "decline"), ("c\n", "cancel")]
)
def test_a_form_can_be_refused(server: Server, typed: str, action: str) -> None:
    with acting(server, "Poke") as screen:
        say(screen, "[c]ancel:", typed)
        assert f'{{"action": "{action}"}}' in finish(screen)


@pytest.mark.parametrize(
    ("prompt", "words", "typed", "result"),
    [("Poke", "[c]ancel:", "c\n", '{"action": "cancel"}'), ("Note", "Run it?", "y\n", "✓ note")],
)
def test_what_was_typed_before_a_question_is_no_answer_to_it(
    server: Server, prompt: str, words: str, typed: str, result: str
) -> None:
    with acting(server, prompt) as screen:
        screen.type("n\n")
        say(screen, words, typed)
        assert result in finish(screen)


def test_the_end_of_input_amid_a_form_gives_the_question_up(server: Server) -> None:
    with acting(server, "Poke") as screen:
        say(screen, "[c]ancel:", "y\n")
        say(screen, "size (an integer):", "\x04")
        assert '{"action": "cancel"}' in finish(screen)


@pytest.mark.parametrize(
    ("prompt", "words", "typed", "result"),
    [
        ("Poke", "size (an integer):", "4\x04\x04", '{"action": "cancel"}'),
        ("Note", "Run it?", "y\x04\x04", "✗ note"),
    ],
)
def test_a_line_that_the_end_of_input_breaks_off_is_no_answer(
    server: Server, prompt: str, words: str, typed: str, result: str
) -> None:
    with acting(server, prompt) as screen:
        if prompt == "Poke":
            say(screen, "[c]ancel:", "y\n")
        say(screen, words, typed)
        assert result in finish(screen)


def test_a_page_is_agreed_to_before_anything(server: Server) -> None:
    with acting(server, "Go") as screen:
        screen.read_until("? older asks: Log in there.\r\n  https://example.com/x\r\n")
        say(screen, "Will you go to example.com yourself? [y]es, [N]o, [c]ancel:", "y\n")
        say(screen, "Enter, when you have done what it asks for there:", "\n")
        assert '{"action": "accept"}' in finish(screen)
    with acting(server, "Go") as screen:
        say(screen, "[c]ancel:", "n\n")
        assert '{"action": "decline"}' in finish(screen)


def next_question(server: Server, events: Iterator[Any]) -> str:
    return next(event.id for event in events if isinstance(event, ElicitationAsked))


@pytest.mark.parametrize("typed", ["4", "4\x04"])
def test_a_form_that_somebody_else_fills_in_goes_away(server: Server, typed: str) -> None:
    with server.control.elicitations() as events, acting(server, "Poke and note") as screen:
        say(screen, "[c]ancel:", "y\n")
        # Half an answer, which must not become the beginning of the next one.
        say(screen, "size (an integer):", typed)
        server.control.answer_elicitation(next_question(server, events), "accept", {"size": 9})
        screen.read_until(GONE)
        screen.read_until('"size": 9')
        say(screen, "Run it?", "y\n")
        assert "✓ note" in finish(screen)


def test_a_call_that_somebody_else_agrees_to_is_not_asked_about_any_more(server: Server) -> None:
    with acting(server, "Note") as screen:
        screen.read_until("Run it?")
        runs = json.loads(server.control.runs())["data"]
        (run,) = (it["id"] for it in runs if it["state"] == "running")
        (question,) = json.loads(server.control.run(run))["questions"]
        server.control.approve(run, question["id"], "once")
        screen.read_until(GONE)
        assert "✓ note" in finish(screen)


def poke_over_http(server: Server) -> str:
    """What the model read of its call."""
    body = {"model": "a", "tools": ["mcp/*/*"], "prompt": "Poke"}
    with posting(server.address, body, ACT) as response:
        run = json.load(response)
        assert response.status == 200, run
    return next(str(it["content"]) for it in run["messages"] if it["role"] == "tool")


def test_a_terminal_answers_for_its_own_run_alone(server: Server) -> None:
    with acting(server, "Note") as screen:
        screen.read_until("Run it?")
        assert '"decline"' in poke_over_http(server), "nobody is there for that run"
        assert "asks" not in screen.text
        screen.type("y\n")
        finish(screen)


def test_where_nobody_can_type_nobody_is_asked(server: Server) -> None:
    done = subprocess.run(
        [*COMMAND, "act", "-m", "a", "-t", "mcp/*/*", "Poke"],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert '{"action": "decline"}' in done.stderr, done
    with acting(server, "Poke", "--json") as screen:
        assert screen.end() == 0
        assert '{\\"action\\": \\"decline\\"}' in screen.text


def test_ctrl_c_amid_a_form_cancels_the_run(server: Server) -> None:
    with acting(server, "Poke") as screen:
        say(screen, "[c]ancel:", "y\n")
        screen.read_until("size (an integer):")
        screen.process.send_signal(signal.SIGINT)
        assert screen.end() == 130
        assert "Cancelled run_" in screen.text
        assert "Traceback" not in screen.text

    def has_ended() -> bool:
        return bool(json.loads(server.control.runs())["data"][0]["state"] == "cancelled")

    eventually(has_ended)
    assert '"decline"' in poke_over_http(server), "the server still works"


def test_an_approval_is_shown_in_the_list_of_runs(server: Server) -> None:
    with acting(server, "Note") as screen:
        screen.read_until("Run it?")
        (first, *_) = json.loads(server.control.runs())["data"]
        assert (first["state"], first["questions"]) == ("running", 1)
        screen.type("n\n")
        assert "✗ note" in finish(screen)
    (first, *_) = json.loads(server.control.runs())["data"]
    assert (first["state"], first["questions"]) == ("completed", 0)


def test_nobody_over_http_can_say_that_he_answers(server: Server) -> None:
    body = {"model": "a", "prompt": "Poke", "elicitations": True}
    with posting(server.address, body, ACT) as response:
        refused = json.load(response)
        assert response.status == 403
    assert "over the unix socket only" in refused["error"]["message"]
