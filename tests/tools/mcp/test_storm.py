"""Servers of every kind come, go, fail and are given up, all at once: nothing is left of it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from pathlib import Path

from lmrun.tools.mcp.host import McpHost
from lmrun.tools.tool import ToolResult
from tests.tools.mcp.support import HERE, declare, hosting, run
from tests.tools.mcp.test_remote import FakeRemote, remote

BEHAVIOURS = (
    "good",
    "exit_mid_call",
    "silence",
    "closes_stdout",
    "long_line",
    "half_a_line_then_exit",
    "never_ready",
    "exit_at_start",
)
CYCLES = 3
SERVERS = 5


def test_nothing_is_left_of_a_storm() -> None:
    chance = random.Random(3)
    before = _open_files()
    results: list[ToolResult] = []

    async def use(host: McpHost, server: str) -> None:
        for _ in range(3):
            for tool in await host.tools(server):
                calling = asyncio.ensure_future(tool.call({"text": "x"}, lambda progress: None))
                if chance.random() < 0.3:
                    await asyncio.sleep(chance.random() * 0.05)
                    calling.cancel()
                await asyncio.wait({calling})
                if not calling.cancelled():
                    results.append(calling.result())

    async def body() -> None:
        with FakeRemote() as fake:
            async with hosting({}) as host:
                for cycle in range(CYCLES):
                    new = {"A": f"{cycle}"}
                    servers = {
                        f"s{number}": declare(
                            chance.choice(BEHAVIOURS), timeout="0.3s", start_timeout="1s", env=new
                        )
                        for number in range(SERVERS)
                    }
                    servers["remote"] = remote(fake.url, timeout="1s", headers=new)
                    await host.adopt(servers, dict.fromkeys(servers, HERE))
                    using = [asyncio.ensure_future(use(host, server)) for server in servers]
                    await asyncio.wait(using, timeout=chance.random())
                    for one in using:
                        one.cancel()
                    await asyncio.gather(*using, return_exceptions=True)
                    failed = [it for it in using if not it.cancelled() and it.exception()]
                    assert not failed

    run(body())

    assert {it.error for it in results} <= {None, "timeout", "crashed", "too_large", "unreachable"}
    assert any(it.error is None for it in results)
    # Fewer, where something of an earlier test has gone meanwhile.
    assert _open_files() <= before
    assert _children() == []


def _open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def _children() -> list[str]:
    """Fake servers of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [it for it in children if b"mcp_fake" in Path(f"/proc/{it}/cmdline").read_bytes()]
