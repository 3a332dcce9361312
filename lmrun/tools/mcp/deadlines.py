"""How long calls may still take, while somebody is asked something on their behalf: that time is
not theirs. And which runs have some under way. It knows no calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from lmrun.tools.calling import current_run


class Deadlines:
    """Of one server's calls."""

    def __init__(self) -> None:
        self._left_s: dict[asyncio.Timeout, float] = {}
        self._runs: dict[asyncio.Timeout, str] = {}
        self._pauses = 0
        self._paused_at = 0.0
        self.paused_s = 0.0
        """The length of all pauses that are over, in seconds."""

    @property
    def runs(self) -> frozenset[str]:
        """Those with a call under way."""
        return frozenset(self._runs.values())

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """The block may take so long, pauses apart. Raises TimeoutError."""
        run = current_run()
        async with asyncio.timeout(None if self._pauses else seconds) as timeout:
            self._left_s[timeout] = seconds
            if run is not None:
                self._runs[timeout] = run
            try:
                yield timeout
            finally:
                del self._left_s[timeout]
                self._runs.pop(timeout, None)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No time passes for anybody within the block."""
        self._pauses += 1
        now = asyncio.get_running_loop().time()
        if self._pauses == 1:
            self._paused_at = now
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
        self.paused_s += now - self._paused_at
        for timeout, left_s in self._left_s.items():
            if not timeout.expired():
                timeout.reschedule(now + left_s)
