"""Whether a worker's step loop still runs, judged by its frames. It ends nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lmrun.runtime.timings import Timings

_TICKS = 8
_MOST_PATIENCE_S = 600.0


class Watchdog:
    """Calls `on_hung` once when no frame came for too long.

    It counts ticks of the event loop rather than seconds: when the server itself was stopped or
    busy, the worker's frames wait in the socket and must not be counted against it.
    """

    def __init__(self, timings: Timings, on_hung: Callable[[float], None]) -> None:
        self._timings = timings
        self._on_hung = on_hung
        self._loop = asyncio.get_running_loop()
        self._tick_s = timings.heartbeat_timeout_s / _TICKS
        self._silent_ticks = 0
        self._longest_step_s = 0.0
        self._last_beat = self._loop.time()
        self._was_busy = False
        self._patience_s = 0.0
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    def beat(self, *, is_busy: bool, patience_s: float = 0.0) -> None:
        """A frame came. `is_busy`: sequences are being processed, so the next gap is a step.
        `patience_s`: how long the next frame may be in coming, as the worker says; 10 minutes at
        most."""
        now = self._loop.time()
        if self._was_busy:
            self._longest_step_s = max(self._longest_step_s, now - self._last_beat)
        self._last_beat = now
        self._was_busy = is_busy
        self._patience_s = min(patience_s, _MOST_PATIENCE_S)
        self._silent_ticks = 0

    def stop(self) -> None:
        """Watch no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        self._silent_ticks += 1
        silent_s = self._silent_ticks * self._tick_s
        steps_s = self._timings.heartbeat_steps * self._longest_step_s
        if silent_s >= max(self._timings.heartbeat_timeout_s, steps_s, self._patience_s):
            self._on_hung(silent_s)
        else:
            self._timer = self._loop.call_later(self._tick_s, self._tick)
