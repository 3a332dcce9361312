"""A server elsewhere, over streamable HTTP or SSE: the library's transports on lmrun's one guarded
client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import McpHttpClientFactory
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCResponse

from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.settings.addresses import parse_host
from lmrun.tools.http.outbound import OutboundPolicy, make_client
from lmrun.tools.http.urls import safe_to_open
from lmrun.tools.mcp.transport.wire import Breach, Id, Incoming, is_shallow

MAX_BODY_BYTES = 4 * 2**20
WRITE_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
_LONGER_THAN_A_CALL_S = 5.0

# They write what a server says, ids of sessions among it, which are secrets.
for _name in ("mcp.client.streamable_http", "mcp.client.sse", "httpx2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class RemoteLink:
    """An open way to a server. Made by `open`; whoever has it closes it, in the same task."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._last_status: int | None = None
        self._reader: anyio.abc.ObjectReceiveStream[SessionMessage | Exception]
        self._writer: anyio.abc.ObjectSendStream[SessionMessage]

    @classmethod
    async def open(cls, config: McpServerConfig, auth: httpx2.Auth | None) -> RemoteLink:
        """Raises OutboundRefused for a URL that may not be used; what cannot be reached shows when
        it is first written to."""
        assert config.url is not None
        link = cls()
        try:
            await link._enter(safe_to_open(config.url, allow_private=config.private), config, auth)
        except BaseException:
            await link.close()
            raise
        return link

    async def _enter(self, url: str, config: McpServerConfig, auth: httpx2.Auth | None) -> None:
        client = self._make_client(url, config, auth)
        if config.transport == "sse":
            streams = sse_client(url, httpx_client_factory=_always(client))
        else:
            await self._stack.enter_async_context(client)
            streams = streamable_http_client(
                url, http_client=client, max_sse_event_size=MAX_BODY_BYTES
            )
        self._reader, self._writer = await self._stack.enter_async_context(streams)

    def _make_client(
        self, url: str, config: McpServerConfig, auth: httpx2.Auth | None
    ) -> httpx2.AsyncClient:
        policy = OutboundPolicy(
            hosts=(urlsplit(url).netloc,),
            allow_private=config.private,
            allow_loopback=_is_this_machine(url),
            max_bytes=MAX_BODY_BYTES,
            timeout_s=max(config.timeout, config.start_timeout) + _LONGER_THAN_A_CALL_S,
        )
        headers = {name: value.reveal() for name, value in config.headers.items()}
        client = make_client(policy, headers)
        if auth is not None:
            client.auth = auth
        client.event_hooks = {"response": [self._note]}
        return client

    async def _note(self, response: httpx2.Response) -> None:
        if response.request.method == "POST":
            self._last_status = response.status_code

    @property
    def pid(self) -> None:
        return None

    @property
    def stderr_tail(self) -> str:
        return ""

    @property
    def refusal(self) -> str | None:
        """An answer that no server of the protocol gives."""
        if self._last_status not in (401, 403, 407):
            return None
        return f"it answered with HTTP status {self._last_status}"

    async def read(self) -> Sequence[Incoming] | None:
        """The next message; None once the way is closed."""
        try:
            item = await self._reader.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            return None
        if isinstance(item, Exception):
            return [Breach("protocol", f"an event is no message: {type(item).__name__}")]
        return [_check_depth(item.message)]

    async def write(self, message: SessionMessage) -> None:
        """Hand a message over to be sent. Raises anyio.BrokenResourceError where that is not
        possible any more."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._writer.send(message)
        except (TimeoutError, anyio.ClosedResourceError) as error:
            raise anyio.BrokenResourceError from error

    async def describe_end(self) -> str:
        """What the last answer was, for want of an end that could be seen."""
        if self._last_status is None or self._last_status < 400:
            return "it cannot be reached"
        return f"it answered with HTTP status {self._last_status}"

    async def close(self) -> None:
        """End the session and the connections; a server that takes too long is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._stack.aclose()


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    address = parse_host(host)
    return host.removesuffix(".") == "localhost" if address is None else address.is_loopback


def _check_depth(message: JSONRPCMessage) -> Incoming:
    value: Any
    match message:
        case JSONRPCResponse(result=value):
            pass
        case JSONRPCError(error=error):
            value = error.data
        case _:
            value = message.params
    if is_shallow(value):
        return message
    ids: tuple[Id, ...] = ()
    if isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None:
        ids = (message.id,)
    return Breach("protocol", "an answer holds arrays or objects too deep in each other", ids)


def _always(client: httpx2.AsyncClient) -> McpHttpClientFactory:
    def make(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        return client

    return make
