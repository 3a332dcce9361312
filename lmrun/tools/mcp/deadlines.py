"""How long calls may still take, while somebody is asked something on their behalf: that time is
not theirs. It knows no calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Deadlines:
    """Of one server's calls."""

    def __init__(self) -> None:
        self._left_s: dict[asyncio.Timeout, float] = {}
        self._pauses = 0

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """The block may take so long, pauses apart. Raises TimeoutError."""
        async with asyncio.timeout(None if self._pauses else seconds) as timeout:
            self._left_s[timeout] = seconds
            try:
                yield
            finally:
                del self._left_s[timeout]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No time passes for anybody within the block."""
        self._pauses += 1
        now = asyncio.get_running_loop().time()
        if self._pauses == 1:
            for timeout in self._left_s:
                if not timeout.expired():
                    self._left_s[timeout] = max(0.0, (timeout.when() or now) - now)
                    timeout.reschedule(None)
        try:
            yield
        finally:
            self._pauses -= 1
            if self._pauses == 0:
                self._resume()

    def _resume(self) -> None:
        now = asyncio.get_running_loop().time()
        for timeout, left_s in self._left_s.items():
            if not timeout.expired():
                timeout.reschedule(now + left_s)
