"""Whose generation goes next: a few run at a time, the others wait by class, then by arrival.

It does not know what they do with their turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

Priority = Literal["high", "normal", "low"]

_ORDER: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}
_current: ContextVar[Priority] = ContextVar("lmrun_priority", default="normal")


def current_priority() -> Priority:
    """The class of the request that is being answered here."""
    return _current.get()


@contextmanager
def prioritized(priority: Priority) -> Iterator[None]:
    """What the block asks for has this class, and whatever tasks it starts."""
    token = _current.set(priority)
    try:
        yield
    finally:
        _current.reset(token)


def lower(first: Priority, second: Priority) -> Priority:
    """The one that goes later."""
    return max(first, second, key=_ORDER.__getitem__)


@dataclass(order=True, slots=True)
class Waiting:
    """One that waits. `since_s`: on the clock of its turns."""

    rank: int
    number: int
    priority: Priority = field(compare=False)
    since_s: float = field(compare=False)
    called: asyncio.Future[None] = field(compare=False)


class Turns:
    """`places`: how many may have a turn at a time, asked whenever one is free."""

    def __init__(
        self, places: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._places = places
        self._clock = clock
        self._taken = 0
        self._numbers = count()
        self._line: list[Waiting] = []

    @property
    def line(self) -> tuple[Waiting, ...]:
        """Those that wait, the next one first."""
        return tuple(sorted(self._line))

    @property
    def waiting(self) -> int:
        return len(self._line)

    def waited_s(self, waiting: Waiting) -> float:
        """How long it has waited."""
        return self._clock() - waiting.since_s

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[None]:
        """A turn for as long as the block runs; entering waits for it."""
        if self._line or self._taken >= self._places():
            await self._wait(priority)
        else:
            self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._call()

    async def _wait(self, priority: Priority) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        me = Waiting(_ORDER[priority], next(self._numbers), priority, self._clock(), called)
        self._line.append(me)
        self._call()
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                # Called just before it left: the turn goes to the next one.
                self._taken -= 1
            elif me in self._line:
                self._line.remove(me)
            self._call()
            raise

    def _call(self) -> None:
        """Give every free place to whoever is next."""
        while self._line and self._taken < self._places():
            first = min(self._line)
            self._line.remove(first)
            if not first.called.done():  # else it is about to leave: its task was cancelled
                self._taken += 1
                first.called.set_result(None)
