"""A bell: whoever waits is told that something changed, and looks for himself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

AT_MOST_EVERY_S = 0.1


class Changes:
    """Many rings become one look; no ring is missed."""

    def __init__(self) -> None:
        self._bells: set[asyncio.Event] = set()
        self._is_closed = False

    def ring(self) -> None:
        for bell in self._bells:
            bell.set()

    def close(self) -> None:
        """End every `listen`: nothing will change any more."""
        self._is_closed = True
        self.ring()

    async def listen(self) -> AsyncGenerator[None, None]:
        """Yield at once, then after every change, at most ten times a second, until closed."""
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            while not self._is_closed:
                yield None
                await asyncio.sleep(AT_MOST_EVERY_S)
                await bell.wait()
                bell.clear()
        finally:
            self._bells.discard(bell)
