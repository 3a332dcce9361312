"""The MCP part of a server, real but for the models: host, approvals, credentials, and the control
API on its unix socket, in a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lmrun.api.app import build_socket_app
from lmrun.api.control.mcp import mcp_routes
from lmrun.api.listener import make_server, open_control_socket
from lmrun.cli.client import Control
from lmrun.profile.loader import LoadedProfile, load_profile
from lmrun.store.home import Home
from lmrun.store.mcp_pins import McpPins
from lmrun.store.mcp_secrets import McpSecrets
from lmrun.tools.mcp.backoff import Backoff
from lmrun.tools.mcp.desk import McpDesk
from lmrun.tools.mcp.host import McpHost
from lmrun.tools.mcp.oauth.bearer import auth_maker
from lmrun.tools.mcp.oauth.credentials import Credentials
from lmrun.tools.mcp.pins.approvals import Approvals
from lmrun.tools.models import Generate

T = TypeVar("T")

QUICK = Backoff(first_s=0.05, longest_s=0.2, steady_s=60.0, most=4)
SLOW = Backoff(first_s=600.0, longest_s=600.0, steady_s=60.0, most=4)


class _NoModels:
    def open(self, model: str) -> AbstractAsyncContextManager[Generate]:
        raise AssertionError(f"nobody may ask {model}")


class Served:
    """`control`: a client. The rest is for tests, and runs in the server's own loop."""

    def __init__(self, home: Home, environment: Mapping[str, str], backoff: Backoff) -> None:
        self.home = home
        self.control = Control(home.control_socket)
        self.loaded: LoadedProfile | None = None
        self._environment = environment
        self._loop = asyncio.new_event_loop()
        self._pins = McpPins(home.mcp_pins)
        find_root = lambda: self.loaded.root if self.loaded else None  # noqa: E731  twice below
        approvals = Approvals(self._pins, environment, find_root)
        credentials = Credentials(McpSecrets(home.mcp_secrets), find_root)
        self.host = McpHost(
            environment,
            _NoModels(),
            approvals,
            make_auth=auth_maker(credentials),
            backoff=backoff,
        )
        self.desk = McpDesk(self.host, approvals, credentials, lambda: self.loaded)

    def run(self, work: Coroutine[Any, Any, T], within_s: float = 20.0) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    def apply(self, profile: Path) -> None:
        """Adopt the profile as it is now."""
        loaded = load_profile(profile, self._environment)

        async def adopt() -> None:
            self.loaded = loaded
            await self.host.adopt(loaded.profile.mcp_servers, loaded.mcp_dirs)

        self.run(adopt())

    def offered(self, server: str) -> list[str]:
        """Names of the tools that models get now."""
        return [tool.spec.name for tool in self.run(self.host.tools(server))]

    def call(self, server: str, tool: str, **arguments: Any) -> str:
        """What a model reads of a call."""

        async def do() -> str:
            tools = {it.spec.path: it for it in await self.host.tools(server)}
            result = await tools[f"mcp/{server}/{tool}"].call(arguments, lambda progress: None)
            return result.text if result.error is None else f"{result.error}: {result.text}"

        return self.run(do())

    def approve(self, server: str) -> None:
        """Agree to all of it."""
        shown = self.control.review_mcp(server)
        shown = self.control.approve_mcp(server, shown.identity.digest, {})
        assert shown.problem is None, shown.problem
        self.control.approve_mcp(server, None, {it.name: it.digest for it in shown.tools})

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = make_server(build_socket_app(mcp_routes(self.desk)))
        socket = open_control_socket(self.home.control_socket)
        serving = asyncio.create_task(server.serve(sockets=[socket]))
        started.set()
        await stop.wait()
        server.force_exit = True
        server.end()
        await serving
        await self.host.close()
        self._pins.close()
        self.home.control_socket.unlink(missing_ok=True)


@contextmanager
def serving_desk(
    root: Path,
    profile: Path | None,
    environment: Mapping[str, str],
    backoff: Backoff = QUICK,
) -> Iterator[Served]:
    """On the home `root`, with `profile` applied; nothing of it is left after the block."""
    home = Home(root)
    home.ensure()
    served = Served(home, environment, backoff)
    started, stop = threading.Event(), asyncio.Event()
    loop = served._loop

    def run() -> None:
        loop.run_until_complete(served.serve(started, stop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(20)
    try:
        if profile is not None:
            served.apply(profile)
        yield served
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
