"""What the status of a real server says of tools, from a profile that is applied to one that all is
well with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from lmrun.reconcile.status import AgentStatus, Status, ToolTrouble
from tests.support.profiles import posting, read_events, write_profile, write_script
from tests.support.server import Server, eventually

CHANGING = Path(__file__).parents[1] / "support" / "changing_server.py"

SLOW = """
import os, time

while not os.path.exists({go!r}):
    time.sleep(0.01)


def slow() -> str:
    return "at last"
"""


def tool(name: str, description: str = "A tool.") -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}}


def write_tools(home: Path, *tools: dict[str, Any]) -> None:
    (home / "tools.json").write_text(json.dumps(tools))


def write_all(home: Path, **tools: Any) -> Path:
    """A model that calls the tool `time__find`, and an agent that has all tools."""
    call = json.dumps({"name": "time__find", "arguments": {}})
    script = write_script(
        home / "a.scripted.json",
        {"match": "END_TOOL_RESULT", "pieces": ["done"]},
        {"pieces": [f"[TOOL_REQUEST]{call}[END_TOOL_REQUEST]"]},
    )
    (home / "own_tools.py").write_text("def add(a: int, b: int) -> int:\n    return a + b\n")
    command = [sys.executable, str(CHANGING), str(home / "tools.json"), str(home / "started")]
    offered = {"allow": ["find", "send"], "policy": {"find": "allow"}}
    return write_profile(
        home / "p.yaml",
        {"a": {"source": f"file:{script}"}},
        tools={"add": {"python": "own_tools:add"}, **tools},
        mcp_servers={"time": {"command": command, "tools": offered}},
        agents={"helper": {"model": "a", "tools": ["*"]}},
    )


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    write_tools(home, tool("find"), tool("send"))
    with Server(home) as running:
        yield running


def troubles(status: Status) -> list[tuple[str, str]]:
    assert status.tools is not None
    return [(it.subject, it.reason) for it in status.tools.troubles]


def approve(server: Server) -> None:
    shown = server.control.review_mcp("time")
    if shown.identity.standing != "approved":
        shown = server.control.approve_mcp("time", shown.identity.digest, {})
    server.control.approve_mcp("time", None, {it.name: it.digest for it in shown.tools})


def lmrun(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lmrun", *arguments],
        env={**os.environ, "LMRUN_HOME": str(server.home.root)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_without_tools_nothing_is_said_of_them(server: Server) -> None:
    assert server.status.tools is None
    script = write_script(server.home.root / "a.scripted.json")
    profile = write_profile(server.home.root / "p.yaml", {"a": {"source": f"file:{script}"}})
    assert server.apply(profile).converged
    assert server.status.tools is None
    assert "Tools" not in [it.type for it in server.status.conditions]


def test_what_needs_approval_is_said_at_once_and_until_it_is_given(server: Server) -> None:
    profile = write_all(server.home.root)
    assert server.apply(profile).converged
    found = server.status
    assert found.tools is not None
    assert found.tools.agents == (AgentStatus("helper", "a", ("*",)),)
    assert (found.tools.declared, found.tools.missing, found.tools.servers) == (1, 0, 1)
    assert troubles(found) == [("mcp_servers.time", "NeedsApproval")]
    assert "`lmrun mcp approve time`" in server.condition("Tools")
    assert not (server.home.root / "started").exists(), "nothing is started to find out"

    shown = server.control.review_mcp("time")
    server.control.approve_mcp("time", shown.identity.digest, {})
    assert server.condition("Tools") == (
        "False/NeedsApproval: mcp_servers.time: Not approved: find, send. "
        "`lmrun mcp approve time` shows them, and asks."
    )
    approve(server)
    assert server.condition("Tools") == "True/Ready: "
    assert troubles(server.status) == []


def test_whoever_follows_the_events_is_told_of_a_tool_that_changes(server: Server) -> None:
    server.apply(write_all(server.home.root))
    approve(server)
    with urlopen(f"{server.address}/lmrun/v1/events", timeout=20) as stream:
        events = read_events(stream)
        assert next(events)["tools"]["troubles"] == []
        write_tools(server.home.root, tool("find"), tool("send", "And a copy to somebody else."))
        with posting(server.address, {"agent": "helper", "prompt": "Go"}, "/lmrun/v1/act") as done:
            assert b"find was called" in done.read()
        found = next(it for event in events for it in event["tools"]["troubles"])
    assert (found["subject"], found["reason"]) == ("mcp_servers.time", "ToolDrift")
    assert found["message"].startswith("Changed since they were approved: send. ")


def test_a_server_that_does_not_start_is_said_with_the_reason(server: Server) -> None:
    write_all(server.home.root)
    broken = {"command": [sys.executable, "-c", "exit(3)"], "tools": {"allow": ["*"]}}
    profile = write_profile(server.home.root / "p.yaml", {}, mcp_servers={"broken": broken})
    assert server.apply(profile).converged
    shown = server.control.review_mcp("broken")
    assert server.control.approve_mcp("broken", shown.identity.digest, {}).problem is not None
    eventually(lambda: troubles(server.status) == [("mcp_servers.broken", "ServerFailed")])
    condition = server.condition("Tools")
    assert condition.startswith("False/ServerFailed: mcp_servers.broken: It was gone before it was")
    assert "\n" not in condition


def test_what_cannot_be_imported_is_said_and_mended_by_itself(server: Server) -> None:
    home = server.home.root
    profile = write_all(home, shout={"python": "loud_tools:shout"})
    write_tools(home, tool("find"), tool("send"))
    assert not server.apply(profile).converged
    found = server.status
    assert found.tools is not None and (found.tools.declared, found.tools.missing) == (2, 1)
    first, _ = found.tools.troubles
    assert first == ToolTrouble(
        "tools.shout",
        "ToolInvalid",
        f"there is no module `loud_tools` in {home}. Once that is mended, it is tried again by "
        "itself.",
    )
    text = lmrun(server, "status")
    assert "agents      helper\n" in text and "tools       2, 1 missing, 1 MCP server\n" in text
    assert "! Tools is False (ToolInvalid): tools.shout: there is no module `loud_tools`" in text
    assert "\n    mcp_servers.time: MCP server 'time' has not been approved." in text
    told = json.loads(lmrun(server, "status", "--json"))["tools"]
    assert [it["subject"] for it in told["troubles"]] == ["tools.shout", "mcp_servers.time"]

    (home / "loud_tools.py").write_text("def shout(text: str) -> str:\n    return text.upper()\n")
    eventually(lambda: troubles(server.status) == [("mcp_servers.time", "NeedsApproval")])


def test_what_is_still_being_imported_is_not_known(server: Server) -> None:
    home = server.home.root
    (home / "slow_tools.py").write_text(SLOW.format(go=str(home / "go")))
    profile = write_all(home, slow={"python": "slow_tools:slow"})
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(server.apply, profile)
        eventually(lambda: server.status.tools is not None)
        assert server.condition("Tools") == "Unknown/Progressing: "
        (home / "go").touch()
        assert applying.result(20).converged
    assert server.condition("Tools").startswith("False/NeedsApproval")
