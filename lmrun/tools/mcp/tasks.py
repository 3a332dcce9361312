"""Calls that a server does as tasks, as revision 2025-11-25 has them: begun, asked after, fetched,
given up.

It knows no tool of lmrun's, and no deadline: whoever calls gives up by cancelling.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import mcp_types as types
from mcp.client.session import ClientSession
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Discriminator, Tag, TypeAdapter, ValidationError

from lmrun.errors import McpProtocol
from lmrun.tools.mcp.cleaning import clean_line
from lmrun.tools.mcp.transport.wire import Breach

REVISION = "2025-11-25"
"""The only one that has them; the next one has moved them into an extension of another form."""
LEAST_POLL_S = 0.1
DEFAULT_POLL_S = 1.0
LEAST_POLLS = 10
"""In the time that a call may take, however seldom the server would like to be asked."""
KEPT_S = 600.0
"""That the server is asked to keep a task beyond the time of a call: people who are asked something
on its behalf have that much time."""
CANCEL_TIMEOUT_S = 2.0
MAX_TEXT = 2000

_OVER = ("completed", "failed", "cancelled")
_TOKENS = itertools.count()

Listeners = dict[str | int, ProgressFnT]
"""Who hears of progress, by its token."""

_ResultT = TypeVar("_ResultT", bound=BaseModel)


def _kind_of(answer: Any) -> str:
    return "task" if isinstance(answer, dict) and "task" in answer else "result"


_BEGUN: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        Annotated[types.CreateTaskResult, Tag("task")]
        | Annotated[types.CallToolResult, Tag("result")],
        Discriminator(_kind_of),
    ]
)


def poll_delay_s(asked_ms: int | None, timeout_s: float) -> float:
    """Seconds until a task is asked after again: as its server wishes, within reason for a call
    that may take `timeout_s`."""
    longest_s = max(DEFAULT_POLL_S, timeout_s / LEAST_POLLS)
    if asked_ms is None:
        return min(DEFAULT_POLL_S, longest_s)
    # Compared in milliseconds: an integer of the server's may be too large for a float.
    return max(LEAST_POLL_S * 1000, min(asked_ms, longest_s * 1000)) / 1000


async def hear(listeners: Listeners, message: object) -> None:
    """Pass progress on. Once a call is answered by its task, the library follows it no more."""
    if isinstance(message, types.ProgressNotification):
        told = message.params
        listener = listeners.get(told.progress_token)
        if listener is not None:
            await listener(told.progress, told.total, told.message)


class Tasks:
    """Those of one session. `listeners`: of the same session, for `hear`."""

    def __init__(self, session: ClientSession, listeners: Listeners) -> None:
        self._session = session
        self._listeners = listeners
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def is_offered(self) -> bool:
        """Whether the server does calls of tools as tasks."""
        tasks = self._capability
        requests = tasks.requests if tasks is not None else None
        tools = requests.tools if requests is not None else None
        return tools is not None and tools.call is not None

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        timeout_s: float,
        on_progress: ProgressFnT,
        on_answer: Callable[[], None],
    ) -> types.CallToolResult:
        """Call a tool and wait until its task is over; the server is told when nobody waits any
        longer. `timeout_s`: how long whoever calls will wait. `on_answer`: the server has said how
        the task is. Raises what Connection's methods do, and McpProtocol where the server no longer
        knows what it has begun."""
        token = f"task-{next(_TOKENS)}"
        news = _News(on_progress)
        self._listeners[token] = news.tell_progress
        try:
            begun = await self._begin(tool, arguments, token, timeout_s)
            if isinstance(begun, types.CallToolResult):
                return begun
            return await self._follow(_Task(self._session, begun.task, timeout_s, news, on_answer))
        finally:
            del self._listeners[token]

    async def close(self) -> None:
        """Nobody is told any more that a task was given up."""
        ending = set(self._ending)
        for telling in ending:
            telling.cancel()
        if ending:
            await asyncio.wait(ending)

    @property
    def _capability(self) -> types.ServerTasksCapability | None:
        capabilities = self._session.server_capabilities
        if capabilities is None or self._session.protocol_version != REVISION:
            return None
        return capabilities.tasks

    async def _begin(
        self, tool: str, arguments: Mapping[str, Any], token: str, timeout_s: float
    ) -> types.CreateTaskResult | types.CallToolResult:
        params = types.CallToolRequestParams.model_validate(
            {
                "name": tool,
                "arguments": dict(arguments),
                "task": {"ttl": round((timeout_s + KEPT_S) * 1000)},
                "_meta": {"progressToken": token},
            },
            by_name=False,
        )
        begun: types.CreateTaskResult | types.CallToolResult = await self._session.send_request(
            types.CallToolRequest(params=params), _BEGUN
        )
        return begun

    async def _follow(self, task: _Task) -> types.CallToolResult:
        try:
            return await task.finish()
        except BaseException:
            capability = self._capability
            if not task.is_over and capability is not None and capability.cancel is not None:
                telling = asyncio.create_task(task.give_up())
                self._ending.add(telling)
                telling.add_done_callback(self._ending.discard)
            raise


class _Task:
    """One of them, from its beginning to its end."""

    def __init__(
        self,
        session: ClientSession,
        task: types.Task,
        timeout_s: float,
        news: _News,
        on_answer: Callable[[], None],
    ) -> None:
        self._session = session
        self._task = task
        self._timeout_s = timeout_s
        self._news = news
        self._on_answer = on_answer
        self._fetching: asyncio.Task[types.CallToolResult] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the server has said so."""
        return self._task.status in _OVER

    async def finish(self) -> types.CallToolResult:
        """Its result, once there is one."""
        try:
            await self._news.tell_status(self._task)
            while not self.is_over:
                if self._task.status == "input_required":
                    # What it asks comes only to whoever waits for its result.
                    self._fetch()
                await self._pause()
                if self._fetching is not None and self._fetching.done():
                    return await self._take(self._fetching)
                await self._look()
            return await self._conclude()
        finally:
            await self._stop_fetching()

    async def give_up(self) -> None:
        """Tell the server that nobody waits for it; whatever it answers."""
        params = types.CancelTaskRequestParams(task_id=self._task.task_id)
        with contextlib.suppress(MCPError, ValidationError, TimeoutError):
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await self._session.send_request(
                    types.CancelTaskRequest(params=params), types.CancelTaskResult
                )

    async def _pause(self) -> None:
        delay_s = poll_delay_s(self._task.poll_interval, self._timeout_s)
        if self._fetching is None:
            await asyncio.sleep(delay_s)
        else:
            await asyncio.wait({self._fetching}, timeout=delay_s)

    async def _look(self) -> None:
        params = types.GetTaskRequestParams(task_id=self._task.task_id)
        found = await self._send(types.GetTaskRequest(params=params), types.GetTaskResult)
        if found.task_id != self._task.task_id:
            raise McpProtocol("The server was asked after one task, and answers about another.")
        self._task = found
        self._on_answer()
        await self._news.tell_status(found)

    async def _take(self, fetched: asyncio.Task[types.CallToolResult]) -> types.CallToolResult:
        try:
            return await fetched
        except McpProtocol:
            # Also how a task ends that fails with an error of the protocol's.
            await self._look()
            if not self.is_over:
                raise
            return await self._conclude()

    async def _conclude(self) -> types.CallToolResult:
        why = self._task.status_message
        if self._task.status == "cancelled":
            return _make_failure("The server has cancelled the task", why)
        if self._task.status == "completed":
            return await self._fetch()
        try:
            result = await self._fetch()
        except McpProtocol as error:
            cause = error.__cause__
            said = cause.message if isinstance(cause, MCPError) else None
            return _make_failure("The task has failed", why or said)
        return result.model_copy(update={"is_error": True})

    def _fetch(self) -> asyncio.Task[types.CallToolResult]:
        if self._fetching is None:
            params = types.GetTaskPayloadRequestParams(task_id=self._task.task_id)
            request = types.GetTaskPayloadRequest(params=params)
            self._fetching = asyncio.create_task(self._send(request, types.CallToolResult))
        return self._fetching

    async def _stop_fetching(self) -> None:
        fetching = self._fetching
        if fetching is not None:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _send(self, request: types.Request[Any, Any], kind: type[_ResultT]) -> _ResultT:
        try:
            return await self._session.send_request(request, kind)
        except MCPError as error:
            if isinstance(error.error.data, Breach) or error.code == types.CONNECTION_CLOSED:
                raise
            # Not an error of the call: that was begun, and must not be taken for undone.
            said = clean_line(error.message, MAX_TEXT) or f"error {error.code}"
            raise McpProtocol(
                f"The task was begun, and asked after it the server says: {said}. "
                "What has become of it is not known."
            ) from error


class _News:
    """What is told of a task, as progress: its status moves no number."""

    def __init__(self, on_progress: ProgressFnT) -> None:
        self._on_progress = on_progress
        self._last: tuple[float, float | None] = (0.0, None)
        self._said: str | None = None

    async def tell_progress(
        self, progress: float, total: float | None, message: str | None
    ) -> None:
        self._last = progress, total
        await self._on_progress(progress, total, message)

    async def tell_status(self, task: types.Task) -> None:
        said = task.status_message
        if said is None and task.status == "input_required":
            said = "It waits for an answer."
        if said is not None and said != self._said:
            self._said = said
            await self._on_progress(*self._last, said)


def _make_failure(what: str, why: str | None) -> types.CallToolResult:
    text = f"{what}: {clean_line(why, MAX_TEXT)}" if why else f"{what}."
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
