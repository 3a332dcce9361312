"""What stands between a link to a server and the library's session: it lets through only answers to
what was asked, holds the server's own requests within bounds, and slows down floods. It knows no
transport."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from lmrun.tools.mcp.status import Counters
from lmrun.tools.mcp.transport.tool_lists import sift
from lmrun.tools.mcp.transport.wire import Breach, Id, Incoming

MAX_REQUESTS = 16
"""Of a server, that are being answered at a time."""
MESSAGES_PER_S = 1000.0
BURST = 2000.0

MAX_ITEMS = 4096
"""Parts of one answer. Reading them holds up everybody else."""

_LISTS = ("prompts", "resources", "resourceTemplates")
"""Of which nobody reads as many."""
_TASK_CALL = "tools/call, as a task"


class Link(Protocol):
    """A way to a server, open."""

    async def read(self) -> Sequence[Incoming] | None:
        """What comes next, in its order; None: nothing more will."""
        ...

    async def write(self, message: SessionMessage) -> None:
        """Send. Raises anyio.BrokenResourceError where that is not possible any more."""
        ...


class Pace:
    """How fast messages may come: `rate` in a second, and `burst` at once."""

    def __init__(
        self,
        rate: float = MESSAGES_PER_S,
        burst: float = BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._since = burst, clock()

    def take(self, count: int) -> float:
        """Seconds to wait now that `count` more have come."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._since) * self._rate) - count
        self._since = now
        return max(0.0, -self._left / self._rate)


class Guard:
    """The state of one session's traffic."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.lost = asyncio.Event()
        """Set once nothing more can come."""
        self.malformed_tools: dict[str, str] = {}
        """Why tools of the last list are left out, by name."""
        self._asked: dict[Id, str] = {}
        self._answering: set[Id] = set()

    def sent(self, message: JSONRPCMessage) -> None:
        """This goes out."""
        match message:
            case JSONRPCRequest(id=id, method=method, params=params):
                is_task = method == "tools/call" and "task" in (params or {})
                self._asked[_plain(id)] = _TASK_CALL if is_task else method
            case JSONRPCResponse(id=id) | JSONRPCError(id=id) if id is not None:
                self._answering.discard(_plain(id))
            case JSONRPCNotification(method="notifications/cancelled", params=params):
                self._asked.pop(_plain((params or {}).get("requestId")), None)
            case _:
                pass

    def received(self, incoming: Incoming) -> tuple[list[JSONRPCMessage], list[JSONRPCMessage]]:
        """What the session is given of it, and what is answered to it at once."""
        self.counters.messages += 1
        match incoming:
            case Breach():
                return self._fail(incoming), []
            case JSONRPCResponse() | JSONRPCError():
                method = self._asked.pop(_plain(incoming.id), None)
                if method is None:
                    self.counters.unasked += 1
                    return [], []
                if isinstance(incoming, JSONRPCResponse):
                    return [self._adapt(method, incoming)], []
            case JSONRPCRequest(id=id):
                if len(self._answering) >= MAX_REQUESTS or _plain(id) in self._answering:
                    self.counters.refused += 1
                    return [], [_refusal(id)]
                self._answering.add(_plain(id))
            case JSONRPCNotification(method="notifications/cancelled", params=params):
                self._answering.discard(_plain((params or {}).get("requestId")))
        return [incoming], []

    def _adapt(self, method: str, answer: JSONRPCResponse) -> JSONRPCMessage:
        if method == "tools/list":
            result, self.malformed_tools = sift(answer.result)
        elif method == _TASK_CALL and "task" in answer.result:
            # The library takes no answer to `tools/call` without a content.
            result = {"content": [], **answer.result}
        else:
            result = _cut_lists(answer.result)
        longest = max((len(it) for it in result.values() if isinstance(it, list)), default=0)
        if longest > MAX_ITEMS:
            reason = f"it has {longest} parts, and at most {MAX_ITEMS} are read"
            return self._note(Breach("too_large", reason), answer.id)
        return answer.model_copy(update={"result": result})

    def _note(self, breach: Breach, id: Id) -> JSONRPCError:
        """The answer to the request `id`, if it was one."""
        self.counters.breaches += 1
        self.counters.last_breach = breach.reason
        error = ErrorData(code=INTERNAL_ERROR, message=breach.reason, data=breach)
        return JSONRPCError(jsonrpc="2.0", id=id, error=error)

    def _fail(self, breach: Breach) -> list[JSONRPCMessage]:
        """Whoever waits for what cannot be read need not wait any longer."""
        self.counters.breaches += 1
        self.counters.last_breach = breach.reason
        failed = {_plain(id) for id in breach.ids} & self._asked.keys()
        for id in failed:
            del self._asked[id]
        error = ErrorData(code=INTERNAL_ERROR, message=breach.reason, data=breach)
        return [JSONRPCError(jsonrpc="2.0", id=id, error=error) for id in failed]


class Incomings:
    """The stream that the session reads."""

    def __init__(self, link: Link, guard: Guard) -> None:
        self._link = link
        self._guard = guard
        self._pace = Pace()
        self._next: deque[JSONRPCMessage] = deque()

    async def receive(self) -> SessionMessage | Exception:
        """The next message. Raises anyio.EndOfStream after the last one."""
        while not self._next:
            batch = None if self._guard.lost.is_set() else await self._link.read()
            if batch is None:
                self._guard.lost.set()
                raise anyio.EndOfStream
            await self._take(batch)
        return SessionMessage(self._next.popleft())

    async def _take(self, batch: Sequence[Incoming]) -> None:
        for incoming in batch:
            passed, answers = self._guard.received(incoming)
            self._next.extend(passed)
            for answer in answers:
                with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await self._link.write(SessionMessage(answer))
        # Also where nothing is to be waited for: whatever was set off by the last ones runs first.
        await asyncio.sleep(self._pace.take(len(batch)))

    def __aiter__(self) -> Incomings:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Nothing more is read."""
        self._guard.lost.set()

    async def __aenter__(self) -> Incomings:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class Outgoings:
    """The stream that the session writes."""

    def __init__(self, link: Link, guard: Guard) -> None:
        self._link = link
        self._guard = guard
        self._is_closed = False

    async def send(self, item: SessionMessage, /) -> None:
        """Raises anyio.ClosedResourceError once it is closed, anyio.BrokenResourceError where the
        server takes nothing any more: then the session is lost."""
        if self._is_closed:
            raise anyio.ClosedResourceError
        self._guard.sent(item.message)
        try:
            await self._link.write(item)
        except anyio.BrokenResourceError:
            self._guard.lost.set()
            raise

    async def aclose(self) -> None:
        """Nothing more is written."""
        self._is_closed = True

    async def __aenter__(self) -> Outgoings:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _cut_lists(result: dict[str, Any]) -> dict[str, Any]:
    """The result, with the beginnings of what is only listed."""
    found = {name: result[name] for name in _LISTS if isinstance(result.get(name), list)}
    return {**result, **{name: listed[:MAX_ITEMS] for name, listed in found.items()}}


def _plain(id: object) -> Id:
    """As the session compares them: some servers answer the request 7 as "7"."""
    if isinstance(id, str) and id.isdecimal() and len(id) < 18:
        return int(id)
    return id if isinstance(id, int | str) else ""


def _refusal(id: Id) -> JSONRPCMessage:
    message = f"more than {MAX_REQUESTS} requests at a time, or one id for two of them"
    return JSONRPCError(jsonrpc="2.0", id=id, error=ErrorData(code=INTERNAL_ERROR, message=message))
