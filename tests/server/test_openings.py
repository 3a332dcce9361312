"""Agents and runs that begin with a prompt and resources of an MCP server: a real server, a model
that says what it was given, and a library that notes what is asked of it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import lmrun
from tests.support.crashing import Crasher
from tests.support.mcp_fake.library import ORDER
from tests.support.profiles import posting, write_profile, write_script
from tests.support.screen import Screen
from tests.support.server import Server, eventually, free_port, is_alive, serving
from tests.support.server import lmrun as lmrun_command
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_vision import write_tiny_projector
from tests.tools.mcp.support import FAKE_SERVER

ACT = "/lmrun/v1/act"
COMMAND = [sys.executable, "-P", "-m", "lmrun"]
QUESTION = "What does it say?"
USER = [{"role": "user", "content": QUESTION}]
NOTE = "mcp/docs/note://a"

FUNCTIONS = '''
from pathlib import Path


def note() -> str:
    """Writes a note."""
    with open(Path(__file__).parent / "noted", "a") as file:
        file.write("noted")
    return "written"
'''

CALL = '[TOOL_REQUEST]{"name": "note", "arguments": {}}[END_TOOL_REQUEST]'
REPLIES: list[dict[str, Any]] = [
    {"match": "denied", "pieces": ["I may not."]},
    {"match": "END_TOOL_RESULT", "pieces": ["I obeyed."]},
    {"match": ORDER, "pieces": [CALL]},
    {
        "match": r"Be brief.*Review this in de.*\[begin.*It rains\..*\[end.*What does it say",
        "pieces": ["Rain."],
    },
    {"match": r"\[begin.*It rains\..*\[end.*What does it say", "pieces": ["Rain without review."]},
    {"match": r"Read this.*I have.*What does it say", "pieces": ["It was read."]},
    {"pieces": ["Nothing."]},
]


def library(home: Path, **fields: Any) -> dict[str, Any]:
    return {
        "command": [*FAKE_SERVER, "library"],
        "env": {"LIBRARY_LOG": str(home / "library.log")},
        "prompts": True,
        "resources": True,
        "timeout": "5s",
        **fields,
    }


def declare(home: Path) -> Path:
    (home / "opening_tools.py").write_text(FUNCTIONS)
    script = write_script(home / "a.scripted.json", *REPLIES)
    text, eye = write_tiny_llama(home / "text.gguf", seed=1), write_tiny_projector(home / "e.gguf")
    seeing = {"source": f"file:{text}", "load": {"mmproj": f"file:{eye}"}, "state": "on_demand"}
    return write_profile(
        home / "p.yaml",
        {"a": {"source": f"file:{script}"}, "seeing": seeing},
        tools={"note": {"python": "opening_tools:note", "policy": "allow"}},
        mcp_servers={
            "docs": library(home),
            "open": library(home, policy="allow"),
            "own": library(home, untrusted=False),
            "frail": library(home),
            "gone": {"url": f"http://127.0.0.1:{free_port()}/mcp", "prompts": True},
        },
        presets={
            "review": {
                "mcp_prompt": "mcp/docs/review",
                "arguments": {"language": "de"},
                "system_prompt": "Be brief.",
                "prediction": {"max_tokens": 50},
            },
            "blank": {"mcp_prompt": "mcp/docs/review"},
        },
        agents={
            "critic": {
                "model": "a",
                "preset": "review",
                "context": [NOTE],
                "description": "Reviews notes.",
            },
            "plain": {"model": "a", "preset": "mcp/docs/plain"},
            "obedient": {"model": "a", "preset": "mcp/docs/order", "tools": ["note"]},
            "reader": {"model": "a", "context": ["mcp/docs/note://order"], "tools": ["note"]},
            "trusting": {"model": "a", "preset": "mcp/own/order", "tools": ["note"]},
            "blank": {"model": "a", "preset": "blank"},
            "deaf": {"model": "a", "preset": "mcp/docs/sound"},
            "painter": {"model": "a", "preset": "mcp/docs/picture"},
            "seer": {"model": "seeing", "preset": "mcp/docs/picture"},
            "lost": {"model": "a", "context": ["mcp/docs/note://b"]},
            "stranded": {"model": "a", "preset": "mcp/gone/review"},
            "unlucky": {"model": "a", "preset": "mcp/frail/fatal"},
        },
    )


def approve(server: Server, *names: str) -> None:
    for name in names:
        shown = server.control.review_mcp(name)
        server.control.approve_mcp(name, shown.identity.digest, {})


def requests(home: Path) -> list[str]:
    log = home / "library.log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with serving(home, declare(home)) as running:
        approve(running, "docs", "open", "own", "frail", "gone")
        yield running


def ask(server: Server, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    url = urlsplit(server.address)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.load(response)
    finally:
        connection.close()


def chat(server: Server, agent: str, **more: Any) -> tuple[int, Any]:
    return ask(server, "/v1/chat/completions", {"model": agent, "messages": USER, **more})


def say(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


DIALECTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": USER}),
    ("/v1/responses", {"input": QUESTION}),
    ("/v1/messages", {"messages": USER, "max_tokens": 50}),
    ("/api/v1/chat", {"input": QUESTION}),
]
of_dialects = pytest.mark.parametrize(("path", "body"), DIALECTS, ids=[it[0] for it in DIALECTS])


@of_dialects
def test_an_agent_begins_with_its_prompt_and_context_behind_every_dialect(
    server: Server, path: str, body: dict[str, Any]
) -> None:
    status, answer = ask(server, path, {"model": "critic", **body})
    assert status == 200, answer
    assert '"Rain."' in json.dumps(answer)


def test_twenty_at_a_time_begin_with_the_same(server: Server) -> None:
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: chat(server, "critic"), range(20)))
    assert {status for status, _ in answers} == {200}
    assert {say(answer) for _, answer in answers} == {"Rain."}


def test_a_python_program_names_both(server: Server) -> None:
    end = lmrun.act("a", QUESTION, base_url=server.address, context=["mcp/open/note://a"])
    assert end.text == "Rain without review."
    end = lmrun.act("a", QUESTION, base_url=server.address, preset="mcp/open/plain")
    assert end.text == "It was read."


def test_a_prompt_without_blanks_is_an_agents_preset(server: Server) -> None:
    assert say(chat(server, "plain")[1]) == "It was read."


def test_what_an_agent_begins_with_counts_as_its_prompt(server: Server) -> None:
    counts = [
        ask(server, "/v1/messages/count_tokens", {"model": model, "messages": USER})[1]
        for model in ("a", "critic")
    ]
    bare, whole = (it["input_tokens"] for it in counts)
    assert whole > bare


@pytest.mark.parametrize(
    ("agent", "status", "code", "words"),
    [
        ("blank", 422, "mcp_unusable", "mcp/docs/review: The prompt needs an argument 'language'"),
        ("deaf", 422, "mcp_unusable", "mcp/docs/sound: The prompt holds a sound"),
        ("lost", 502, "mcp_protocol_error", "mcp/docs/note://b: The server says: Resource not fo"),
        ("unlucky", 502, "mcp_unreachable", "mcp/frail/fatal: It was gone before it answered"),
        ("stranded", 502, "mcp_unreachable", "mcp/gone/review: It cannot be reached"),
        ("painter", 400, "unsupported_parameter", "image"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_begun_is_a_real_status(
    server: Server, agent: str, status: int, code: str, words: str, stream: bool
) -> None:
    found, answer = chat(server, agent, stream=stream)
    assert (found, answer["error"]["code"]) == (status, code), answer
    assert words in answer["error"]["message"]


def test_a_model_that_can_see_sees_what_a_server_gives(server: Server) -> None:
    letter = [{"role": "user", "content": "x"}, *USER]

    def count(model: str, **body: Any) -> int:
        status, answer = chat(server, model, max_tokens=4, **body)
        assert status == 200, answer
        return int(answer["usage"]["prompt_tokens"])

    assert count("seer") - count("seeing", messages=letter) == 16 - 1, "an image is 16 tokens"


@of_dialects
def test_a_picture_that_a_server_gave_is_nobodys_parameter(
    server: Server, path: str, body: dict[str, Any]
) -> None:
    status, answer = ask(server, path, {"model": "painter", **body})
    assert status == 400, answer
    said = json.dumps(answer)
    assert "An MCP server gave the image" in said
    assert "images[" not in said


@pytest.mark.parametrize(
    ("agent", "answer"),
    [("obedient", "I may not."), ("reader", "I may not."), ("trusting", "I obeyed.")],
)
def test_what_content_from_elsewhere_orders_is_not_done(
    server: Server, agent: str, answer: str
) -> None:
    noted = server.home.root / "noted"
    noted.unlink(missing_ok=True)
    assert say(chat(server, agent)[1]) == answer
    assert noted.exists() is (agent == "trusting")


def test_nothing_is_started_before_somebody_has_agreed_to_it(tmp_path: Path) -> None:
    with serving(tmp_path, declare(tmp_path)) as server:
        for path, body in DIALECTS:
            for stream in (False, True):
                status, answer = ask(server, path, {"model": "critic", **body, "stream": stream})
                assert status == 403, answer
                assert "lmrun mcp approve docs" in json.dumps(answer)
        status, answer = ask(server, ACT, {"agent": "plain", "prompt": QUESTION})
        assert (status, answer["error"]["code"]) == (403, "mcp_not_approved")
        assert requests(tmp_path) == []
        approve(server, "docs")
        assert say(chat(server, "critic")[1]) == "Rain."


def test_a_run_is_asked_with_a_preset_and_context(server: Server) -> None:
    body = {"model": "a", "prompt": QUESTION, "preset": "review", "context": ["mcp/open/note://a"]}
    status, run = ask(server, ACT, body)
    assert (status, run["text"]) == (200, "Rain."), run
    roles = [message["role"] for message in run["messages"]]
    assert roles == ["system", "user", "user", "assistant"]
    assert run["messages"][1]["content"] == "Review this in de, in a plain tone."
    assert run["messages"][2]["content"].endswith(f"\n{QUESTION}")
    assert run["summary"]["task"] == QUESTION


def test_a_request_reads_no_more_than_the_policy_lets_it(server: Server) -> None:
    before = requests(server.home.root).count("resource note://two")
    body = {"model": "a", "prompt": QUESTION, "context": ["mcp/docs/note://two"]}
    status, refused = ask(server, ACT, body)
    assert (status, refused["error"]["code"]) == (403, "forbidden"), refused
    assert "mcp/docs/note://two was not read" in refused["error"]["message"]
    assert requests(server.home.root).count("resource note://two") == before


def test_what_a_request_cannot_name_is_a_400(server: Server) -> None:
    for name, value in (("preset", "revue"), ("context", ["mcp/nobody/note://a"])):
        status, refused = ask(server, ACT, {"model": "a", "prompt": QUESTION, name: value})
        assert status == 400
        assert refused["error"]["param"].startswith(name)


def test_the_command_line_names_a_preset_and_context(server: Server) -> None:
    context = ("--context", "mcp/open/note://a", QUESTION)
    acted = lmrun_command(server, "act", "-m", "a", "--preset", "review", *context)
    assert (acted.stdout, acted.returncode) == ("Rain.\n", 0), acted.stderr
    chatted = lmrun_command(server, "chat", "-m", "a", *context)
    assert (chatted.stdout, chatted.returncode) == ("Rain without review.\n", 0), chatted.stderr
    denied = lmrun_command(server, "act", "-m", "a", "--context", NOTE, QUESTION)
    assert denied.returncode == 1
    assert "was not read" in denied.stderr


def test_somebody_at_a_terminal_is_asked_about_a_resource(server: Server) -> None:
    environment = {**os.environ, "LMRUN_HOME": str(server.home.root), "TERM": "dumb"}
    screen = Screen([*COMMAND, "act", "-m", "a", "--context", NOTE, QUESTION], environment)
    screen.read_until("Run it?", within_s=40)
    assert "mcp/docs/read_resource" in screen.text
    assert "note://a" in screen.text
    screen.type("y\n")
    assert screen.end() == 0, screen.text
    assert "Rain without review." in screen.text


def test_the_status_says_what_an_agent_is_for(server: Server) -> None:
    assert server.status.tools is not None
    found = {agent.name: agent.description for agent in server.status.tools.agents}
    assert found["critic"] == "Reviews notes."
    assert found["plain"] is None


@pytest.mark.parametrize(("point", "times"), [("act.opening", 2), ("act.answering", 1)])
def test_a_server_killed_after_it_has_read_does_not_read_again(
    tmp_path: Path, point: str, times: int
) -> None:
    profile = declare(tmp_path)
    crasher = Crasher(tmp_path)
    body = {"agent": "critic", "prompt": QUESTION, "background": True}
    with Server(tmp_path, str(profile), program=crasher.program) as server:
        server.ready("a")
        approve(server, "docs")
        before = requests(tmp_path)
        crasher.arm(point)
        with suppress(OSError, HTTPException), posting(server.address, body, ACT) as response:
            assert response.status == 202
        assert server.process.wait(30) == -signal.SIGKILL
    crasher.disarm()
    for pid in crasher.children:
        eventually(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]

    with Server(tmp_path, program=crasher.program) as server:
        server.ready("a")
        run = eventually(lambda: find_ended(server), within_s=30.0)

    assert (run["summary"]["state"], run["text"]) == ("completed", "Rain.")
    made = requests(tmp_path)[len(before) :]
    assert [line for line in made if line != "started"] == [
        "prompt review",
        "resource note://a",
    ] * times


def find_ended(server: Server) -> dict[str, Any] | None:
    url = urlsplit(server.address)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        connection.request("GET", ACT)
        (run,) = json.load(connection.getresponse())["data"]
        if run["state"] in ("running", "interrupted"):
            return None
        connection.request("GET", f"{ACT}/{run['id']}")
        return dict(json.load(connection.getresponse()))
    finally:
        connection.close()
