"""From standard input and output to the running server's own MCP server. It offers nothing itself.

Whoever started it speaks whichever revision of the protocol it likes; the other side is lmrun.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types.version import LATEST_MODERN_VERSION

from lmrun import __version__
from lmrun.tools.mcp.reports import OWN_PATH

CONNECT_TIMEOUT_S = 5.0

ResultT = TypeVar("ResultT")


async def bridge(socket: Path) -> None:
    """Pass on what comes, and what is answered, until standard input ends. `socket`: the control
    socket of the server, which may be started again meanwhile."""
    server = _make_server(socket)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _make_server(socket: Path) -> Server[Any]:
    async def list_tools(
        context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        listed = await _ask(socket, lambda client: client.list_tools())
        return types.ListToolsResult(tools=listed.tools)

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tell = context.session.report_progress
        return await _ask(
            socket,
            lambda client: client.call_tool(params.name, params.arguments, progress_callback=tell),
        )

    return Server(
        "lmrun",
        version=__version__,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _ask(socket: Path, ask: Callable[[Client], Awaitable[ResultT]]) -> ResultT:
    """What the server answers. Raises MCPError: what it says, or that it is not there."""
    try:
        async with _connect(socket) as client:
            return await ask(client)
    except* MCPError as errors:
        raise next(_leaves(errors)) from None
    except* httpx2.TransportError:
        raise MCPError(
            types.INTERNAL_ERROR, "lmrun does not answer; `lmrun apply PROFILE` starts it."
        ) from None


@asynccontextmanager
async def _connect(socket: Path) -> AsyncIterator[Client]:
    """For one request: a connection that is lost ends everything that was asked over it."""
    async with (
        httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(socket)),
            # A model may take its time.
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
        ) as http,
        Client(
            streamable_http_client(
                f"http://localhost{OWN_PATH}", http_client=http, max_sse_event_size=None
            ),
            mode=LATEST_MODERN_VERSION,
            cache=None,
        ) as client,
    ):
        yield client


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
