"""Runs whose tools are tasks of an MCP server, on a real server: how far they are is told, somebody
may be asked meanwhile, and whoever cancels the run cancels the task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.test_mcp_questions import ACT, act, approve, beside, next_question, offer, reply
from tests.support.profiles import posting, read_events, write_profile, write_script
from tests.support.server import Server, eventually, serving
from tests.tools.mcp.support import FAKE_SERVER

SERVERS = {
    "done": offer([*FAKE_SERVER, "task_done"], "poke"),
    "asking": offer([*FAKE_SERVER, "task_asks_somebody"], "poke", elicitation=True),
    "endless": offer([*FAKE_SERVER, "task_without_end"], "poke", "history"),
}
REPLIES = [
    {"match": "END_TOOL_RESULT", "pieces": ["It is done."]},
    reply("Do it", "done__poke"),
    reply("Ask", "asking__poke"),
    reply("Go on and on", "endless__poke"),
    reply("Say what it was asked", "endless__history"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    script = write_script(home / "a.scripted.json", *REPLIES)
    models = {"a": {"source": f"file:{script}"}}
    profile = write_profile(home / "p.yaml", models, mcp_servers=SERVERS)
    with serving(home, profile) as running:
        for name in SERVERS:
            approve(running, name)
        yield running


def test_how_far_a_task_is_comes_as_events_of_the_run(server: Server) -> None:
    body = {"model": "a", "tools": ["mcp/done/*"], "prompt": "Do it", "stream": True}
    with posting(server.address, body, ACT) as response:
        events = list(read_events(response))
    told = [it["message"] for it in events if it["type"] == "tool_call.progress"]
    (result,) = (it for it in events if it["type"] == "tool_call.success")
    assert told == ["It has begun", "Step 1", "Step 2"]
    assert result["text"] == "the result"
    assert events[-1]["type"] == "act.end"


def test_somebody_answers_a_task_over_the_control_socket(server: Server) -> None:
    with server.control.elicitations() as events:
        run = beside(act, server, "Ask")
        asked = next_question(events)
        assert (asked.server, asked.message) == ("asking", "Which size?")
        server.control.answer_elicitation(asked.id, "accept", {"size": 44})
        assert '"size": 44' in run.result(20)


def test_whoever_cancels_a_run_cancels_its_task(server: Server) -> None:
    body = {"model": "a", "tools": ["mcp/endless/*"], "prompt": "Go on and on"}
    run = json.loads(server.control.begin(body))["summary"]["id"]
    eventually(lambda: "tasks/get" in history_of(server)["asked"])
    assert history_of(server)["cancelled"] == []
    server.control.cancel(run)
    eventually(lambda: history_of(server)["cancelled"] == ["t-1"])
    assert json.loads(server.control.run(run))["summary"]["state"] == "cancelled"


def history_of(server: Server) -> dict[str, Any]:
    history: dict[str, Any] = json.loads(act(server, "Say what it was asked"))
    return history
