"""`lmrun mcp serve`: a process of its own between the protocol's client and the running server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

from lmrun.api.app import build_socket_app
from lmrun.api.listener import make_server, open_control_socket
from lmrun.api.mcp.offer import Offering
from lmrun.api.mcp.routes import make_mcp_routes
from lmrun.api.mcp.server import McpServer
from lmrun.store.home import Home
from tests.support.http import wait_until
from tests.support.rounds import RoundsPool, say
from tests.support.stand_in_house import running
from tests.support.tool_shop import TimeTool, ToolShop


@contextmanager
def serving_socket(path: Path, pool: RoundsPool, shop: ToolShop) -> Iterator[None]:
    """The control socket of a server, in a thread."""
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        mcp = McpServer(Offering(pool, shop))
        async with running(mcp):
            server = make_server(build_socket_app(make_mcp_routes(mcp)))
            serving = asyncio.create_task(server.serve(sockets=[open_control_socket(path)]))
            while not server.started:
                await asyncio.sleep(0.002)
            started.set()
            while not stop.is_set():
                await asyncio.sleep(0.01)
            server.force_exit = True
            server.end()
            await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        path.unlink(missing_ok=True)


@asynccontextmanager
async def bridged(home: Home, mode: str) -> AsyncIterator[Client]:
    environment = {**os.environ, "LMRUN_HOME": str(home.root)}
    command = StdioServerParameters(
        command=sys.executable, args=["-P", "-m", "lmrun", "mcp", "serve"], env=environment
    )
    async with Client(stdio_client(command), mode=mode) as client:
        yield client


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def text(result: types.CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_everything_passes_through_both_ways(home: Home, mode: str) -> None:
    pool, tool = RoundsPool(), TimeTool(path="now", is_exported=True)
    never = TimeTool("never", path="never", is_exported=True, never=True)
    shop = ToolShop([tool, never])
    pool.rounds.append(say("Paris."))
    told: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async def use() -> None:
        async with bridged(home, mode) as client:
            tools = (await client.list_tools()).tools
            assert [it.name for it in tools] == ["chat", "embed", "list_models", "now", "never"]
            assert text(await client.call_tool("chat", {"prompt": "Capital?"})) == "Paris."
            refused = await client.call_tool("chat", {})
            assert refused.is_error
            assert text(await client.call_tool("now", {"zone": "Rome"})) == "12:00 in Rome"
            with pytest.raises(MCPError, match="no tool 'nothing'"):
                await client.call_tool("nothing", {})
            async with anyio.create_task_group() as group:

                async def wait() -> None:
                    await client.call_tool("never", {"zone": "Rome"}, progress_callback=note)

                group.start_soon(wait)
                with anyio.fail_after(10):
                    while not told:
                        await anyio.sleep(0.01)
                group.cancel_scope.cancel()
            with anyio.fail_after(10):
                while not never.cancelled:
                    await anyio.sleep(0.01)

    with serving_socket(home.control_socket, pool, shop):
        asyncio.run(use())
    assert told == [1.0]


def test_it_outlives_the_server(home: Home) -> None:
    """A program that started it goes on using it after an upgrade of lmrun, say."""
    pool, shop = RoundsPool(), ToolShop()

    async def use() -> None:
        async with bridged(home, "auto") as client:
            assert not (await client.call_tool("list_models")).is_error
            leave.set()
            await asyncio.to_thread(gone.wait, 30)
            with pytest.raises(MCPError, match="does not answer"):
                await client.call_tool("list_models")
            again.set()
            await asyncio.to_thread(back.wait, 30)
            assert not (await client.call_tool("list_models")).is_error

    leave, gone, again, back = (threading.Event() for _ in range(4))
    user = threading.Thread(target=lambda: results.append(asyncio.run(use())))
    results: list[None] = []
    with serving_socket(home.control_socket, pool, shop):
        user.start()
        assert leave.wait(30)
    gone.set()
    assert again.wait(30)
    with serving_socket(home.control_socket, pool, shop):
        back.set()
        user.join(30)
    assert results == [None]


def test_it_ends_with_its_input(home: Home) -> None:
    with serving_socket(home.control_socket, RoundsPool(), ToolShop()):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lmrun", "mcp", "serve"],
            env={**os.environ, "LMRUN_HOME": str(home.root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        out, _ = process.communicate(b"", timeout=20)
        assert (process.returncode, out) == (0, b"")


def test_without_a_server_it_says_so(home: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lmrun", "mcp", "serve"],
        env={**os.environ, "LMRUN_HOME": str(home.root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert b"lmrun is not running." in done.stderr
    wait_until(lambda: not home.control_socket.exists())
