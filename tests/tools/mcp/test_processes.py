"""Processes of servers: what they are given, and that none of them is left."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import McpError
from tests.support.server import eventually as eventually_sync
from tests.support.server import is_alive
from tests.tools.mcp.support import FAKE_SERVER, call, declare, eventually, hosting, run

HOSTING = """
import asyncio, sys
from tests.tools.mcp.support import FAKE_SERVER, call, declare, hosting

async def main():
    async with hosting({"s": declare("good")}) as host:
        print((await call(host, "s", "seen")).text, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_server_sees_only_what_it_is_given(tmp_path: Path) -> None:
    async def body() -> None:
        (tmp_path / "inner").mkdir()
        config = declare(env={"TOKEN": "a secret"}, cwd="inner")
        async with hosting({"s": config}, directory=tmp_path) as host:
            seen = json.loads((await call(host, "s", "seen")).text)

            # Python itself adds LC_CTYPE where no language is chosen.
            assert set(seen["environment"]) - {"LC_CTYPE"} == {"PATH", "HOME", "TOKEN"}
            assert seen["environment"]["TOKEN"] == "a secret"
            assert seen["directory"] == str(tmp_path / "inner")
            assert os.getpgid(seen["pid"]) == seen["pid"] != os.getpgid(0)
            assert seen["client"]["clientInfo"]["name"] == "lmrun"
            assert seen["client"]["capabilities"] == {}

    run(body())


def test_a_program_is_found_from_where_it_runs(tmp_path: Path) -> None:
    async def body() -> None:
        program = tmp_path / "server.py"
        program.write_text(f"#!/bin/sh\nexec {shlex.join([*FAKE_SERVER, 'good'])}\n")
        program.chmod(0o755)
        async with hosting({"s": declare(command=["./server.py"])}, directory=tmp_path) as host:
            assert (await call(host, "s", "echo", text="found")).text == "found"

    run(body())


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"command": ["no-such-program-anywhere"]}, "There is no program"),
        ({"command": ["./not/here"]}, "There is no program"),
        ({"cwd": "not/here"}, "does not exist"),
    ],
)
def test_what_cannot_be_started_is_not_tried_again_and_again(
    fields: dict[str, Any], error: str
) -> None:
    async def body() -> None:
        async with hosting({"s": declare(**fields)}) as host:
            assert list(await host.tools("s")) == []
            status = host.statuses()["s"]

            assert (status.state, status.pid, status.restarts) == ("failed", None, 0)
            assert status.error is not None and error in status.error

    run(body())


def test_no_argument_is_read_by_a_shell(tmp_path: Path) -> None:
    async def body() -> None:
        command = [*(declare().command or ()), "; touch pwned", "$(touch pwned)", "`touch pwned`"]
        async with hosting({"s": declare(command=command)}, directory=tmp_path) as host:
            assert (await call(host, "s", "echo", text="fine")).text == "fine"
            assert list(tmp_path.iterdir()) == []

    run(body())


def test_one_that_survives_everything_is_killed_with_its_children() -> None:
    async def body() -> list[int]:
        async with hosting({"s": declare("survives_everything")}) as host:
            pids: list[int] = json.loads((await call(host, "s", "poke")).text)
            assert all(map(is_alive, pids))
        return pids

    pids = run(body())

    assert len(pids) == 2
    for pid in pids:
        eventually_sync(lambda pid=pid: not is_alive(pid), within_s=2.0)  # type: ignore[misc]


def test_a_server_that_ends_takes_its_children_with_it() -> None:
    async def body() -> None:
        async with hosting({"s": declare("leaves_a_child_behind")}) as host:
            await host.tools("s")
            group = host.statuses()["s"].pid
            assert group is not None
            result = await call(host, "s", "poke")
            await eventually(lambda: host.statuses()["s"].state == "ready")

            assert result.error == "crashed"
            await eventually(lambda: not _has_members(group), within_s=2.0)

    run(body())


def test_servers_die_with_lmrun() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOSTING],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    ) as host:
        assert host.stdout is not None
        pid = json.loads(host.stdout.readline())["pid"]
        host.send_signal(signal.SIGKILL)

    eventually_sync(lambda: not is_alive(pid), within_s=5.0)


def test_a_changed_server_is_ended_and_an_unchanged_one_keeps_its_session() -> None:
    async def body() -> None:
        servers = {name: declare() for name in ("same", "hot", "cold", "gone")}
        async with hosting(servers) as host:
            await asyncio.gather(*(host.tools(name) for name in servers))
            before = {name: it.pid for name, it in host.statuses().items()}
            changed = {
                "same": declare(),
                "hot": declare(tools={"allow": ["echo"]}, policy="allow", timeout="1s"),
                "cold": declare(env={"A": "b"}),
                "new": declare(),
            }
            here = Path(__file__).parent
            await host.adopt(changed, dict.fromkeys(changed, here))

            assert [it.spec.policy for it in await host.tools("hot")] == ["allow"]
            after = {name: it.pid for name, it in host.statuses().items()}
            assert set(after) == set(changed)
            assert (after["same"], after["hot"]) == (before["same"], before["hot"])
            assert (after["cold"], after["new"]) == (None, None)
            assert not any(is_alive(before[name] or 0) for name in ("cold", "gone"))

    run(body())


def test_closing_ends_calls_and_starts_that_are_under_way() -> None:
    async def body() -> None:
        servers = {"silent": declare("silence", timeout="30s"), "stuck": declare("never_ready")}
        async with hosting(servers) as host:
            await host.tools("silent")
            calling = asyncio.create_task(call(host, "silent", "poke"))
            starting = asyncio.create_task(host.definitions("stuck"))
            await eventually(lambda: host.statuses()["stuck"].pid)
            await asyncio.sleep(0.1)
            await host.close()
            outcomes = await asyncio.gather(calling, starting, return_exceptions=True)

            assert getattr(outcomes[0], "error", None) == "crashed"
            assert "not declared any more" in str(outcomes[1])

    run(body())


def test_a_server_that_nobody_declared_is_an_error() -> None:
    async def body() -> None:
        async with hosting({"s": declare()}) as host:
            with pytest.raises(McpError, match=r"called 't'\. Declared are: s\."):
                await host.tools("t")
            with pytest.raises(McpError, match="prompts of MCP server 's' may not be used"):
                await host.get_prompt("s", "greet", {})

    run(body())


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
