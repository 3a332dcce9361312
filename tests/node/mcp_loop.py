"""The act loop over MCP servers for Node, as they are published: a real lmrun on a real port. Run
by `python -m tests.node`, which installs them.

The model is scripted: that every tool can be called by a model is what is tested, not that a small
one thinks of calling it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lmrun
from lmrun.tools.act.events import ActEvent, CallFailed, CallProgress, CallSucceeded
from lmrun.tools.mcp.reports import McpServerReport
from tests.node.mcp_servers import CALLS, EVERYTHING, FILESYSTEM, everything_over_http
from tests.server.test_mcp_questions import beside, next_question
from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually, free_port, serving

ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "trigger-elicitation-request": ("Please provide inputs", {"name": "Ada"}),
    "trigger-url-elicitation": ("Please open the link", {}),
    "simulate-research-query": ("could have multiple interpretations", {"interpretation": "snake"}),
}
"""What somebody is asked, and says."""

CONTEXT_LENGTH = 65_536
"""A token of the scripted model is a byte, and so many tools have long descriptions."""
WAITING = "Found multiple interpretations"
FILES = {
    "read": ("read_text_file", {"path": "work/a.txt"}),
    "read beside": ("read_text_file", {"path": "work-evil/a.txt"}),
    "read above": ("read_text_file", {"path": "work/../other/a.txt"}),
    "read by a link": ("read_text_file", {"path": "work/way-out/a.txt"}),
    "read elsewhere": ("read_text_file", {"path": "other/a.txt"}),
    "write": ("write_file", {"path": "work/b.txt", "content": "written"}),
    "write beside": ("write_file", {"path": "work-evil/b.txt", "content": "written"}),
    "list": ("list_allowed_directories", {}),
}


TOOLS = set(CALLS) - {"read_resource"}
ASKING = {
    "sampling": {"model": "answerer"},
    "elicitation": True,
    "roots": ["work"],
    "resources": True,
}


@dataclass(frozen=True)
class Place:
    """Where everything is: lmrun's folder and port, and the URL of `everything` over HTTP."""

    home: Path
    port: int
    url: str

    def write_profile(self, *, roots: list[str]) -> Path:
        """`roots`: of `filesystem`."""
        answers = write_script(self.home / "b.scripted.json", {"pieces": ["4", "2"]})
        script = write_script(
            self.home / "a.scripted.json", *self._replies(), context_length=CONTEXT_LENGTH
        )
        servers = {
            "stdio": declare(set(CALLS), command=[*EVERYTHING, "stdio"], **ASKING),
            "http": declare(set(CALLS), url=self.url, **ASKING),
            "files": declare({it for it, _ in FILES.values()}, command=FILESYSTEM, roots=roots),
        }
        models = {"a": {"source": f"file:{script}"}, "answerer": {"source": f"file:{answers}"}}
        path = self.home / "p.yaml"
        return write_profile(path, models, port=self.port, mcp_servers=servers)

    def _replies(self) -> Iterator[dict[str, Any]]:
        yield {"match": "END_TOOL_RESULT", "pieces": ["It is done."]}
        for name in ("stdio", "http"):
            for tool, (arguments, _) in CALLS.items():
                yield reply(f"{name}: call {tool}", f"{name}__{tool}", arguments)
            yield reply(f"{name}: list resources", f"{name}__read_resource", {})
            page = {"url": "https://example.com/x", "errorPath": True}
            yield reply(f"{name}: need a page", f"{name}__trigger-url-elicitation", page)
        for task, (tool, given) in FILES.items():
            paths = {it: f"{self.home}/{given[it]}" for it in given if it == "path"}
            yield reply(f"files: {task}", f"files__{tool}", {**given, **paths})


def reply(prompt: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The model calls the tool when it is asked so."""
    call = json.dumps({"name": tool, "arguments": arguments})
    return {"match": f"{prompt}<", "pieces": [f"[TOOL_REQUEST]{call}[END_TOOL_REQUEST]"]}


def declare(tools: set[str], **fields: Any) -> dict[str, Any]:
    """All tools of a server, those of `tools` allowed by name."""
    offered = {"allow": ["*"], "policy": dict.fromkeys(sorted(tools), "allow")}
    return {"tools": offered, "start_timeout": "60s", "timeout": "20s", **fields}


def approve(server: Server, name: str, count: int) -> set[str]:
    """As somebody does who has looked at it; the tools, once it lists so many: some only when it
    knows what its client can do."""
    shown = server.control.review_mcp(name)
    shown = server.control.approve_mcp(name, shown.identity.digest, {})
    assert shown.problem is None, shown.problem
    eventually(lambda: len(server.control.review_mcp(name).tools) >= count, within_s=30)
    tools = server.control.review_mcp(name).tools
    server.control.approve_mcp(name, None, {it.name: it.digest for it in tools})
    return {it.name for it in tools}


def report(server: Server, name: str) -> McpServerReport:
    return next(it for it in server.control.mcp_servers().servers if it.name == name)


def act(server: Server, prompt: str) -> tuple[str, list[str | None]]:
    """What the model read of the tool that it called, and what was told of the call before."""
    name = prompt.partition(":")[0]
    heard: list[ActEvent] = []
    end = lmrun.act("a", prompt, [f"mcp/{name}/*"], base_url=server.address, on_event=heard.append)
    assert (end.text, end.calls, end.rounds) == ("It is done.", 1, 2)
    (result,) = (it.text for it in heard if isinstance(it, CallSucceeded | CallFailed))
    return result, [it.message for it in heard if isinstance(it, CallProgress)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("home")
    for name in ("work", "work-evil", "other"):
        (home / name).mkdir()
        (home / name / "a.txt").write_text(f"in {name}")
    (home / "work" / "way-out").symlink_to(home / "other")
    with everything_over_http() as url:
        yield Place(home, free_port(), url)


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Server]:
    """`everything` twice, over stdio and over HTTP, and `filesystem`, which knows from its roots
    alone what it may reach."""
    with serving(place.home, place.write_profile(roots=["work"])) as running:
        for name in ("stdio", "http"):
            assert approve(running, name, len(TOOLS)) == TOOLS
            assert report(running, name).protocol == "2025-11-25"
        approve(running, "files", 10)
        yield running


@pytest.mark.parametrize("name", ["stdio", "http"])
@pytest.mark.parametrize("tool", [it for it in CALLS if it not in ANSWERS])
def test_the_loop_calls_every_tool(server: Server, name: str, tool: str) -> None:
    result, _ = act(server, f"{name}: call {tool}")
    assert CALLS[tool][1] in result
    if tool == "get-roots-list":
        assert (server.home.root / "work").as_uri() in result
    if tool == "get-env" and name == "stdio":
        assert "LMRUN_HOME" not in result


@pytest.mark.parametrize("name", ["stdio", "http"])
@pytest.mark.parametrize("tool", ANSWERS)
def test_somebody_answers_over_the_control_socket(server: Server, name: str, tool: str) -> None:
    words, content = ANSWERS[tool]
    with server.control.elicitations() as events:
        run = beside(act, server, f"{name}: call {tool}")
        asked = next_question(events)
        assert (asked.server, words in asked.message) == (name, True), asked
        server.control.answer_elicitation(asked.id, "accept", content)
        result, told = run.result(30)
    assert CALLS[tool][1] in result
    if tool == "simulate-research-query":
        # It is looked at once a second, and so not in each stage; but it waits in this one.
        assert any(it is not None and it.startswith(WAITING) for it in told), told


@pytest.mark.parametrize("name", ["stdio", "http"])
def test_a_page_that_a_tool_needs_is_opened_before_it_is_called_again(
    server: Server, name: str
) -> None:
    with server.control.elicitations() as events:
        run = beside(act, server, f"{name}: need a page")
        opened = []
        for _ in range(2):
            asked = next_question(events)
            opened.append(asked.url)
            server.control.answer_elicitation(asked.id, "accept", {})
        result, _ = run.result(30)
    assert opened == ["https://modelcontextprotocol.io/", "https://example.com/x"]
    assert "completed the URL" in result


def test_where_nobody_is_there_a_task_goes_on_without_an_answer(server: Server) -> None:
    assert "User declined" in act(server, "stdio: call simulate-research-query")[0]


@pytest.mark.parametrize("name", ["stdio", "http"])
def test_the_loop_is_told_of_resources_and_of_their_templates(server: Server, name: str) -> None:
    listed, _ = act(server, f"{name}: list resources")
    assert re.search(r"^demo://resource/static/\S+: ", listed, re.MULTILINE)
    assert "\ndemo://resource/dynamic/text/{resourceId}: Plaintext dynamic resource" in listed


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("read", "in work"),
        ("read beside", "Access denied"),
        ("read above", "Access denied"),
        ("read by a link", "Access denied"),
        ("read elsewhere", "Access denied"),
        ("write", "Successfully wrote"),
        ("write beside", "Access denied"),
    ],
)
def test_files_are_reached_where_roots_allow_it(server: Server, task: str, words: str) -> None:
    assert words in act(server, f"files: {task}")[0]
    assert not (server.home.root / "work-evil" / "b.txt").exists()


def test_other_roots_count_in_the_same_session(server: Server, place: Place) -> None:
    def allowed() -> str:
        return act(server, "files: list")[0]

    restarts = report(server, "files").restarts
    assert server.apply(place.write_profile(roots=["other"])).converged
    try:
        eventually(lambda: f"{place.home}/other" in allowed())
        assert "in other" in act(server, "files: read elsewhere")[0]
        assert "Access denied" in act(server, "files: read")[0]
        assert report(server, "files").restarts == restarts
    finally:
        assert server.apply(place.write_profile(roots=["work"])).converged
        eventually(lambda: f"{place.home}/work" in allowed())
