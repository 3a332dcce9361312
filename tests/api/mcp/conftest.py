"""lmrun's MCP server on a real port, on a stand-in pool, and the protocol's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.mcp.offer import Offering
from lmrun.api.mcp.routes import make_mcp_routes
from lmrun.api.mcp.server import McpServer
from tests.support.http import Port, listening
from tests.support.rounds import Add, RoundsPool
from tests.support.stand_in_house import running
from tests.support.tool_shop import TimeTool, ToolShop


@dataclass
class Desk:
    """The server, and what it answers from."""

    port: Port
    pool: RoundsPool
    shop: ToolShop
    server: McpServer
    door: Door = field(default_factory=Door)

    @asynccontextmanager
    async def client(self, mode: str = "auto", *, key: str | None = None) -> AsyncIterator[Client]:
        """A session. `mode`: `legacy` for the handshake of older revisions."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            transport = streamable_http_client(f"{self.port.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client


@pytest.fixture(scope="module")
def _desk() -> Iterator[Desk]:
    pool, shop, desks = RoundsPool(), ToolShop(), list[Desk]()
    server = McpServer(Offering(pool, shop))

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        async with running(server):
            yield build_app(pool, lambda: desks[0].door, make_mcp_routes(server))

    with listening(make_app) as port:
        desks.append(Desk(port, pool, shop, server))
        yield desks[0]


@pytest.fixture
def desk(_desk: Desk) -> Desk:
    """As new: the tools `now` and `add` are exported, `later` is not."""
    _desk.door = Door()
    pool = _desk.pool
    pool.rounds.clear()
    pool.prompts.clear()
    pool.predictions.clear()
    pool.stop_at = pool.fail_at = None
    _desk.shop.tools = [
        TimeTool(path="now", is_exported=True),
        TimeTool("later", path="later"),
        Add(),
    ]
    return _desk
