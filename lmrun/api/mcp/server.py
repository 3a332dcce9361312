"""lmrun as an MCP server: the protocol's own library around what is offered.

Its HTTP is a path of the port like any other: the door, the limits and the strict reading of bodies
come before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmrun import __version__
from lmrun.api.client import current_client
from lmrun.api.errors import NotAcceptable
from lmrun.api.http.deadline import deadline_of, in_time
from lmrun.api.http.record import current_record
from lmrun.api.mcp.offer import Offering, UnknownTool
from lmrun.api.mcp.sessions import Sessions
from lmrun.tools.tool import ToolProgress

MAX_SESSIONS = 256
MAX_HELD = 64
"""Sessions of one API key, or of one address where no key is asked for."""
IDLE_S = 600.0
"""How long a session may be silent. Only versions of the protocol before 2026-07-28 have any."""

_NO_LIMIT = 2**62
"""Bodies have been read, within the port's own limit, before they come here."""

# It writes ids of sessions, which are secrets.
logging.getLogger("mcp.server").setLevel(logging.ERROR)

_ANSWERS = (b"application/json", b"text/event-stream")
_SESSION = b"mcp-session-id"
_VERSION = b"mcp-protocol-version"

Headers = list[tuple[bytes, bytes]]
ResultT = TypeVar("ResultT")

_left: ContextVar[asyncio.Event] = ContextVar("lmrun_mcp_left")
"""Set when the client no longer waits for the answer to its request."""


class McpServer:
    """Answers while `run` runs."""

    def __init__(self, offering: Offering) -> None:
        self._offering = offering
        self._server: Server[Any] = Server(
            "lmrun",
            version=__version__,
            instructions="Local models to chat and embed with, and the tools of their profile.",
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        self._manager = StreamableHTTPSessionManager(
            self._server,
            max_sessions=MAX_SESSIONS,
            session_idle_timeout=IDLE_S,
            max_request_body_size=_NO_LIMIT,
        )
        self._sessions = Sessions(MAX_HELD, IDLE_S)
        self._is_open = asyncio.Event()
        self._handling: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled; then every session ends. Once only."""
        async with self._manager.run():
            self._is_open.set()
            await asyncio.Event().wait()

    def make_answer(self, body: bytes) -> ASGIApp:
        """What answers the message that `body` is."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._is_open.wait()
            exchange = _Exchange(send)
            task = asyncio.create_task(self._handle(exchange, scope, body))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)
            try:
                async with in_time(deadline_of(scope)):
                    await asyncio.shield(task)
            finally:
                # The end of an answer counts as a disconnect, after which the library has still
                # to keep the session, or to pass the message on.
                if not exchange.is_answered:
                    exchange.left.set()
                    task.cancel()
                    await asyncio.wait({task})

        return answer

    async def _handle(self, exchange: _Exchange, scope: Scope, body: bytes) -> None:
        _left.set(exchange.left)
        scope = _name_user({**scope, "headers": _accept(scope["headers"])})
        holder, session = _name_holder(), _find_header(scope, _SESSION)
        if session is not None:
            with self._sessions.using(holder, session):
                await self._manager.handle_request(scope, _replay(body), exchange.send)
            if scope["method"] == "DELETE":
                self._sessions.remove(holder, session)
        elif _find_header(scope, _VERSION) in (None, *HANDSHAKE_PROTOCOL_VERSIONS):
            await self._open(exchange, holder, scope, body)
        else:
            await self._manager.handle_request(scope, _replay(body), exchange.send)

    async def _open(self, exchange: _Exchange, holder: str, scope: Scope, body: bytes) -> None:
        """What may begin a session. Raises TooManySessions."""

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                session = _find_header(message, _SESSION)
                if session is not None:
                    self._sessions.add(holder, session)
            await exchange.send(message)

        with self._sessions.opening(holder) as given_up:
            if given_up is not None:
                await self._end(scope, given_up)
            await self._manager.handle_request(scope, _replay(body), send)

    async def _end(self, scope: Scope, session: str) -> None:
        """End a session in its holder's stead, whose request `scope` is."""

        async def ignore(message: Message) -> None:
            return

        headers = [*scope["headers"], (_SESSION, session.encode())]
        ending = {**scope, "method": "DELETE", "headers": headers}
        await self._manager.handle_request(ending, _replay(b""), ignore)

    async def _list_tools(
        self, context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=await self._offering.list())

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        async def report(progress: ToolProgress) -> None:
            await context.session.report_progress(
                progress.progress, progress.total, progress.message
            )

        call = self._offering.call(params.name, params.arguments or {}, report)
        try:
            return await _while_wanted(call)
        except UnknownTool as error:
            raise MCPError(types.INVALID_PARAMS, error.message) from None


async def _while_wanted(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """What `work` gives. It ends when nobody waits for it any more: its client has left, or has
    cancelled the request. Cancelled is it once, so that its clean-up may await."""
    task = asyncio.create_task(work)
    left = asyncio.create_task(_left.get(asyncio.Event()).wait())
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        if not task.done():
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task})
    if task.cancelled():
        raise MCPError(types.INTERNAL_ERROR, "The client has left.")
    return task.result()


class _Exchange:
    """One request. `left`: its client no longer waits; `is_answered`: it has the whole answer."""

    def __init__(self, send: Send) -> None:
        self.left = asyncio.Event()
        self.is_answered = False
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_answered = True
        await self._send(message)


def _replay(body: bytes) -> Receive:
    """A body that has been read already. Who waits for a disconnect waits: the port itself looks
    out for one, and cancels."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop()

    return receive


def _accept(headers: Headers) -> Headers:
    """With what the library asks for, where the client takes anything. Raises NotAcceptable for
    one that takes less than the protocol has it take."""
    accepted = b",".join(value for name, value in headers if name == b"accept") or b"*/*"
    if b"*/*" not in accepted:
        if all(kind in accepted for kind in _ANSWERS):
            return headers
        raise NotAcceptable(
            "The client must accept application/json and text/event-stream.",
            hint="Send both in one `Accept` header.",
        )
    kept = [(name, value) for name, value in headers if name != b"accept"]
    return [*kept, (b"accept", b", ".join(_ANSWERS))]


def _find_header(message: Mapping[str, Any], wanted: bytes) -> str | None:
    """Of a request, or of an answer that begins."""
    return next((it.decode("latin-1") for name, it in message["headers"] if name == wanted), None)


def _name_holder() -> str:
    """Whose sessions count together."""
    record = current_record()
    if record is not None and record.key is not None:
        return f"the API key {record.key!r}"
    is_owner = current_client().is_owner
    return "the unix socket" if is_owner or record is None else f"the address {record.peer}"


def _name_user(scope: Scope) -> Scope:
    """The key of the request as the library's user: a session answers only the key that began
    it."""
    record = current_record()
    if record is None or record.key is None:
        return scope
    token = AccessToken(token="", client_id=record.key, scopes=[])
    return {**scope, "user": AuthenticatedUser(token)}
