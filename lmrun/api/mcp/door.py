"""lmrun's MCP server, made when its first client comes: until then the protocol's library is not
imported.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from lmrun.api.acting.workshop import Workshop
from lmrun.api.serving import Pool

if TYPE_CHECKING:
    from lmrun.api.mcp.server import McpServer


class McpDoor:
    """Answers while `run` runs, from `pool` and the tools of `workshop`."""

    def __init__(self, pool: Pool, workshop: Workshop) -> None:
        self._pool = pool
        self._workshop = workshop
        self._is_wanted = asyncio.Event()
        self._made: asyncio.Future[McpServer] | None = None

    async def run(self) -> None:
        """Until cancelled; then every session ends. Once only."""
        await self._is_wanted.wait()
        server = await asyncio.to_thread(import_module, "lmrun.api.mcp.server")
        offer = await asyncio.to_thread(import_module, "lmrun.api.mcp.offer")
        made: McpServer = server.McpServer(offer.Offering(self._pool, self._workshop))
        self._find().set_result(made)
        await made.run()

    def make_answer(self, body: bytes) -> ASGIApp:
        """What answers the message that `body` is."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            self._is_wanted.set()
            made = await asyncio.shield(self._find())
            await made.make_answer(body)(scope, receive, send)

        return answer

    def _find(self) -> asyncio.Future[McpServer]:
        if self._made is None:
            self._made = asyncio.get_running_loop().create_future()
        return self._made
