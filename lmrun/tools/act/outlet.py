"""From the task in which a run goes on to whoever reads its events. It knows no event's meaning."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")

MAX_UNREAD = 64
"""Events that nobody has read yet; then the run waits for its reader."""


class Outlet(Generic[EventT]):
    """A short line of events, from many tasks to one reader."""

    def __init__(self) -> None:
        self._unread: deque[EventT] = deque()
        self._came = asyncio.Event()
        self._left = asyncio.Event()

    async def put(self, event: EventT) -> None:
        """The next event; waits while too many are unread."""
        while len(self._unread) >= MAX_UNREAD:
            self._left.clear()
            await self._left.wait()
        self._add(event)

    def offer(self, event: EventT) -> None:
        """An event that can be done without: nobody gets it while too many are unread."""
        if len(self._unread) < MAX_UNREAD:
            self._add(event)

    async def read(
        self, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> AsyncGenerator[EventT, None]:
        """The events of `work`, which runs in a task of its own until it ends, and raises what it
        raises. Closing this cancels it, and waits until it has stopped."""
        task = asyncio.create_task(work())
        task.add_done_callback(lambda _: self._came.set())
        try:
            while self._unread or not task.done():
                if not self._unread:
                    self._came.clear()
                    await self._came.wait()
                    continue
                event = self._unread.popleft()
                self._left.set()
                yield event
            await task
        finally:
            await stop(task)

    def _add(self, event: EventT) -> None:
        self._unread.append(event)
        self._came.set()


async def stop(task: asyncio.Future[None]) -> None:
    """Cancel `task`, and wait until it has ended, however it does."""
    task.cancel()
    was_cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            # Half stopped is worse than late: a tool may still be writing.
            was_cancelled = True
    if not task.cancelled():
        task.exception()
    if was_cancelled:
        raise asyncio.CancelledError


async def shield(work: Awaitable[ResultT]) -> ResultT:
    """What `work` gives. It comes to its end even if the caller is cancelled meanwhile, who waits
    for it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()
        raise
