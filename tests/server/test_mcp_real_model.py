"""MCP servers as others publish them, in the hands of a real model: it is told of their tools, and
nothing forces it to call one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.server.test_mcp_questions import approve, offer
from tests.support.profiles import ask, write_profile
from tests.support.server import Server, serving
from tests.support.tool_files import real_model

TOKYO = "What is the current time in the timezone Asia/Tokyo?"
STATUS = "What is the git status of the repository notes?"
SERVERS = {
    "time": offer(
        [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"],
        "get_current_time",
        start_timeout="60s",
    ),
    "git": offer(
        [sys.executable, "-m", "mcp_server_git", "--repository", "notes"],
        "git_status",
        start_timeout="60s",
        cwd=".",
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    make_repository(home / "notes")
    greedy = {"prediction": {"temperature": 0, "repeat_penalty": 1, "max_tokens": 200}}
    profile = write_profile(
        home / "p.yaml",
        {"assistant": real_model()},
        presets={"greedy": greedy},
        mcp_servers=SERVERS,
        agents={"clock": {"model": "assistant", "tools": ["mcp/time/get_current_time"]}},
    )
    with serving(home, profile) as running:
        for name in SERVERS:
            approve(running, name)
        yield running


def make_repository(folder: Path) -> None:
    """With a file that nobody has added."""
    folder.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True, timeout=20)
    (folder / "shopping.txt").write_text("bread\n")


def act(server: Server, tools: str, prompt: str) -> tuple[list[str], str]:
    """What `lmrun act` has shown of the calls that went well, and the answer."""
    command = [sys.executable, "-P", "-m", "lmrun", "act", "-m", "assistant", "-t", tools, "--json"]
    done = subprocess.run(
        [*command, prompt],
        env={**os.environ, "LMRUN_HOME": str(server.home.root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    results = [it["text"] for it in events if it["type"] == "tool_call.success"]
    return results, events[-1]["text"]


def tells(answer: str, time: str, day: str) -> bool:
    """Whether an answer says what only the tool's result said. At one hour in thirty this small
    model tells the day and leaves out the time."""
    return time in answer or day in answer


def test_the_time_is_asked_for_and_told(server: Server) -> None:
    (result,), answer = act(server, "mcp/time/get_current_time", TOKYO)
    told: dict[str, Any] = json.loads(result)
    assert told["timezone"] == "Asia/Tokyo"
    assert tells(answer, told["datetime"][:16], told["day_of_week"])


def test_a_client_that_names_the_agent_is_told_the_time(server: Server) -> None:
    in_tokyo = datetime.now(UTC) + timedelta(hours=9)
    assert tells(ask(server.address, TOKYO, model="clock"), "+09:00", f"{in_tokyo:%A}")


def test_a_repository_is_looked_at(server: Server) -> None:
    (result,), answer = act(server, "mcp/git/git_status", STATUS)
    assert "shopping.txt" in result
    assert "main" in answer
