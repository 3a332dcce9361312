"""One live session with a server: the library's client on a guarded link. It starts nothing again,
and knows no tool of lmrun's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar

import mcp_types as types
from mcp.client.client import Client
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from lmrun import __version__
from lmrun.errors import McpProtocol
from lmrun.tools.mcp.answering.answers import Answers
from lmrun.tools.mcp.consent import ToolDefinition
from lmrun.tools.mcp.listing import MAX_TOOLS, as_definition
from lmrun.tools.mcp.tasks import Listeners, Tasks, hear
from lmrun.tools.mcp.transport.guard import MAX_REQUESTS, Guard, Incomings, Link, Outgoings

MAX_PAGES = 64
MAX_INPUT_ROUNDS = 10
_STATE_ONLY_DELAY_S = 0.1

# What they say of a server's mistakes is counted here, and would fill the log.
for _name in ("client", "mcp.client", "mcp.shared"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_ResultT = TypeVar("_ResultT")
_Send = Callable[[types.InputResponses | None, str | None], Awaitable[Any]]

_CALL_RESULT: TypeAdapter[Any] = TypeAdapter(types.CallToolResult | types.InputRequiredResult)
_READ_RESULT: TypeAdapter[Any] = TypeAdapter(types.ReadResourceResult | types.InputRequiredResult)
_PROMPT_RESULT: TypeAdapter[Any] = TypeAdapter(types.GetPromptResult | types.InputRequiredResult)


class OpenLink(Link, Protocol):
    """A link, and what is behind it."""

    @property
    def pid(self) -> int | None:
        """The server's process, where it is one of lmrun's."""
        ...

    @property
    def stderr_tail(self) -> str: ...

    @property
    def refusal(self) -> str | None:
        """How it was refused by what lies before the server, where it was."""
        ...

    async def describe_end(self) -> str:
        """Why nothing more comes, in a few words."""
        ...

    async def close(self) -> None: ...


class Transport:
    """A guarded link as the library wants it: opened when it is entered, closed when it is left."""

    def __init__(self, open_link: Callable[[], Awaitable[OpenLink]]) -> None:
        self._open_link = open_link
        self.guard = Guard()
        self.link: OpenLink | None = None
        """None until it was open."""

    async def __aenter__(self) -> tuple[Incomings, Outgoings]:
        self.link = await self._open_link()
        return Incomings(self.link, self.guard), Outgoings(self.link, self.guard)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.guard.lost.set()
        if self.link is not None:
            await self.link.close()


class Connection:
    """Made by `connect`. Its methods may be called from any task, and cancelled: then the server is
    told. They raise MCPError for errors of the server and a connection that is lost, and
    pydantic.ValidationError for results that are none."""

    def __init__(self, client: Client, transport: Transport, listeners: Listeners) -> None:
        self._client = client
        self._transport = transport
        self.tasks = Tasks(client.session, listeners)

    @property
    def _session(self) -> ClientSession:
        return self._client.session

    @property
    def lost(self) -> asyncio.Event:
        """Set once nothing more can come of it."""
        return self._transport.guard.lost

    @property
    def protocol_version(self) -> str:
        return self._session.protocol_version or ""

    @property
    def has_resources(self) -> bool:
        capabilities = self._session.server_capabilities
        return capabilities is not None and capabilities.resources is not None

    async def list_tools(self) -> tuple[ToolDefinition, ...]:
        """What the server lists; of a list that is too long, a little more than is taken."""
        capabilities = self._session.server_capabilities
        if capabilities is None or capabilities.tools is None:
            return ()
        tools = await self._list(self._session.list_tools, lambda page: page.tools, MAX_TOOLS + 1)
        return tuple(map(as_definition, tools))

    async def list_resources(self, most: int) -> Sequence[types.Resource]:
        """The first resources that it lists; none where it knows no such list: a server may have
        templates alone."""
        return await self._list_any(self._session.list_resources, lambda it: it.resources, most)

    async def list_templates(self, most: int) -> Sequence[types.ResourceTemplate]:
        """The first templates of resources that it lists; none where it knows no such list."""
        return await self._list_any(
            self._session.list_resource_templates, lambda it: it.resource_templates, most
        )

    async def list_prompts(self, most: int) -> Sequence[types.Prompt]:
        """The first prompts that it lists."""
        return await self._list(self._session.list_prompts, lambda page: page.prompts, most)

    async def call(
        self, tool: str, arguments: Mapping[str, Any], on_progress: ProgressFnT
    ) -> types.CallToolResult:
        """Call a tool. Raises McpProtocol when the server asks for input again and again."""

        async def send(responses: types.InputResponses | None, state: str | None) -> Any:
            params = types.CallToolRequestParams(
                name=tool,
                arguments=dict(arguments),
                input_responses=responses,
                request_state=state,
            )
            request = types.CallToolRequest(params=params)
            return await self._session.send_request(
                request, _CALL_RESULT, progress_callback=on_progress
            )

        return await self._complete(send, types.CallToolResult)

    async def read_resource(self, uri: str) -> types.ReadResourceResult:
        """Read a resource."""

        async def send(responses: types.InputResponses | None, state: str | None) -> Any:
            params = types.ReadResourceRequestParams(
                uri=uri, input_responses=responses, request_state=state
            )
            request = types.ReadResourceRequest(params=params)
            return await self._session.send_request(request, _READ_RESULT)

        return await self._complete(send, types.ReadResourceResult)

    async def get_prompt(self, name: str, arguments: Mapping[str, str]) -> types.GetPromptResult:
        """Have a prompt filled in."""

        async def send(responses: types.InputResponses | None, state: str | None) -> Any:
            params = types.GetPromptRequestParams(
                name=name,
                arguments=dict(arguments),
                input_responses=responses,
                request_state=state,
            )
            request = types.GetPromptRequest(params=params)
            return await self._session.send_request(request, _PROMPT_RESULT)

        return await self._complete(send, types.GetPromptResult)

    async def tell_roots_changed(self) -> None:
        """A newer revision has no such notification: its servers ask each time."""
        if self.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            await self._session.send_notification(types.RootsListChangedNotification())

    async def describe_end(self) -> str:
        """Why it is lost, in a few words."""
        assert self._transport.link is not None
        return await self._transport.link.describe_end()

    async def follow_changes(self) -> None:
        """Have the server say when its tools change, for as long as it goes on: newer revisions
        only do so when they are asked. What it says arrives as any notification."""
        if self.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return
        with contextlib.suppress(MCPError, SubscriptionLost):
            async with self._client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    pass

    async def _list_any(
        self,
        fetch: Callable[..., Awaitable[Any]],
        pick: Callable[[Any], Sequence[Any]],
        most: int,
    ) -> list[Any]:
        try:
            return await self._list(fetch, pick, most)
        except MCPError as error:
            if error.code != types.METHOD_NOT_FOUND:
                raise
            return []

    async def _list(
        self,
        fetch: Callable[..., Awaitable[Any]],
        pick: Callable[[Any], Sequence[Any]],
        most: int,
    ) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
            page = await fetch(params=params)
            found += pick(page)
            cursor = page.next_cursor
            if cursor is None or len(found) >= most:
                return found[:most]
            if cursor in seen:
                raise McpProtocol("A list of it leads back to where it has been.")
            seen.add(cursor)
        raise McpProtocol(f"A list of it has more than {MAX_PAGES} pages.")

    async def _complete(self, send: _Send, kind: type[_ResultT]) -> _ResultT:
        """Ask until there is a result, answering what the server wants to know in between."""
        result = await self._begin(send)
        for _ in range(MAX_INPUT_ROUNDS):
            if isinstance(result, kind):
                return result
            responses = await self._answer(result.input_requests or {})
            if not responses:
                await asyncio.sleep(_STATE_ONLY_DELAY_S)
            result = await send(responses or None, result.request_state)
        if isinstance(result, kind):
            return result
        raise McpProtocol(f"It asked for more input {MAX_INPUT_ROUNDS} times.")

    async def _begin(self, send: _Send) -> Any:
        """The first answer; where somebody had to open pages before that, once more."""
        try:
            return await send(None, None)
        except MCPError as error:
            if error.code != types.URL_ELICITATION_REQUIRED or not await self._open_pages(error):
                raise
        return await send(None, None)

    async def _open_pages(self, error: MCPError) -> bool:
        """Whether somebody has opened all that the server wants opened first."""
        try:
            wanted = types.ElicitationRequiredErrorData.model_validate(error.error.data)
        except ValidationError:
            return False
        if not 0 < len(wanted.elicitations) <= MAX_REQUESTS:
            return False
        for number, params in enumerate(wanted.elicitations):
            context = ClientRequestContext(session=self._session, request_id=number)
            request = types.ElicitRequest(params=params)
            said = await self._session.dispatch_input_request(context, request)
            if not isinstance(said, types.ElicitResult) or said.action != "accept":
                return False
        return True

    async def _answer(self, requests: Mapping[str, types.InputRequest]) -> types.InputResponses:
        if len(requests) > MAX_REQUESTS:
            raise McpProtocol(f"It asks for {len(requests)} inputs at a time.")
        responses: types.InputResponses = {}
        for key, request in requests.items():
            meta = request.params.meta if request.params else None
            context = ClientRequestContext(session=self._session, request_id=key, meta=meta)
            response = await self._session.dispatch_input_request(context, request)
            if isinstance(response, types.ErrorData):
                raise MCPError.from_error_data(response)
            responses[key] = response
        return responses


@asynccontextmanager
async def connect(
    transport: Transport, answers: Answers, *, is_legacy: bool, timeout_s: float
) -> AsyncIterator[Connection]:
    """A session for as long as the block runs, in one task. `is_legacy`: the handshake of older
    revisions is used without a look whether a newer one would do. Raises TimeoutError, MCPError,
    and what opening the link raises."""
    listeners: Listeners = {}

    async def notice(message: types.ServerNotification | Exception) -> None:
        await hear(listeners, message)
        await answers.notice(message)

    client = Client(
        transport,
        mode="legacy" if is_legacy else "auto",
        cache=None,
        client_info=types.Implementation(name="lmrun", version=__version__),
        sampling_callback=answers.sample if answers.sampler else None,
        elicitation_callback=answers.elicit if answers.elicitor else None,
        list_roots_callback=answers.list_roots if answers.find_roots else None,
        logging_callback=answers.log,
        log_level="info",
        message_handler=notice,
    )
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(timeout_s):
            await stack.enter_async_context(client)
        connection = Connection(client, transport, listeners)
        following = asyncio.ensure_future(connection.follow_changes())
        try:
            yield connection
        finally:
            following.cancel()
            await asyncio.wait({following})
            await connection.tasks.close()
