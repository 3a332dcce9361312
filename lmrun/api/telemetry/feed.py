"""From one that logs to many that listen, each with a backlog that stays short.

A listener that is slow loses events and is told how many; nobody ever waits for one. It knows no
log and no HTTP, and is used in the loop's thread only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from lmrun.api.telemetry.events import LogEvent, LogLost, ServerLogged, Source

MAX_EVENTS = 1000
MAX_CHARACTERS = 8 * 2**20
"""Of one listener's backlog."""

KEPT_LINES = 1000
"""Of the server's log, for listeners that come later."""

Weighed = tuple[LogEvent, int]
"""An event and about how many characters it has."""


class FeedClosed(Exception):
    """Nothing will be said any more."""


class Listener:
    """One who listens to `sources`."""

    def __init__(self, sources: Collection[Source], earlier: Collection[Weighed]) -> None:
        self.sources = frozenset(sources)
        self._backlog: deque[Weighed] = deque(earlier)
        self._characters = sum(size for _, size in earlier)
        self._lost = 0
        self._is_closed = False
        self._bell = asyncio.Event()

    def push(self, event: LogEvent, size: int) -> None:
        """Take an event, or count it as lost when too much waits already."""
        if len(self._backlog) >= MAX_EVENTS or self._characters + size > MAX_CHARACTERS:
            self._lost += 1
            return
        if self._lost:
            self._backlog.append((LogLost(self._lost), 0))
            self._lost = 0
        self._backlog.append((event, size))
        self._characters += size
        self._bell.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._is_closed = True
        self._bell.set()

    async def next(self, within_s: float) -> LogEvent | None:
        """The next event; None when there was none in time. Raises FeedClosed at the end."""
        if not self._backlog and not self._lost and not self._is_closed:
            self._bell.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._bell.wait()
        if self._backlog:
            event, size = self._backlog.popleft()
            self._characters -= size
            return event
        if self._lost:
            lost, self._lost = self._lost, 0
            return LogLost(lost)
        if self._is_closed:
            raise FeedClosed
        return None


class Feed:
    """All listeners, and the last lines of the server's log."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._lines: deque[Weighed] = deque(maxlen=KEPT_LINES)
        self._is_closed = False

    def has_listener(self, source: Source) -> bool:
        return any(source in listener.sources for listener in self._listeners)

    def publish(self, source: Source, event: LogEvent, size: int) -> None:
        """Hand an event of about `size` characters to everybody who listens to `source`."""
        if isinstance(event, ServerLogged):
            self._lines.append((event, size))
        for listener in self._listeners:
            if source in listener.sources:
                listener.push(event, size)

    def close(self) -> None:
        """Every listener hears what it has not heard yet, and then the end."""
        self._is_closed = True
        for listener in self._listeners:
            listener.close()

    @contextmanager
    def listening(self, sources: Collection[Source], last: int = 0) -> Iterator[Listener]:
        """Listen during the block, beginning with the `last` lines of the server's log."""
        lines = list(self._lines)[-last:] if last and "server" in sources else []
        listener = Listener(sources, lines)
        self._listeners.add(listener)
        if self._is_closed:
            listener.close()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
