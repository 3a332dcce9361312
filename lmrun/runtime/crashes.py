"""When a crashed worker is started again, and when no more. Pure: the time is handed in."""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.runtime.timings import Timings


@dataclass(frozen=True, slots=True)
class CrashHistory:
    """`times`: the crashes within the window. `streak`: crashes since it was last healthy."""

    times: tuple[float, ...] = ()
    streak: int = 0

    def add(self, now: float, *, healthy_s: float, timings: Timings) -> CrashHistory:
        """The history after a crash at `now` of a worker that had been ready for `healthy_s`."""
        streak = 0 if healthy_s >= timings.healthy_after_s else self.streak
        recent = [time for time in self.times if now - time < timings.crash_window_s]
        return CrashHistory(times=(*recent, now), streak=streak + 1)

    def is_loop(self, timings: Timings) -> bool:
        """Whether starting it again would only crash it again."""
        return len(self.times) > timings.crash_limit

    def delay_s(self, timings: Timings) -> float:
        """How long to wait before the next start."""
        exponent = min(self.streak - 1, 64)
        delay = timings.backoff_first_s * timings.backoff_factor**exponent
        return min(delay, timings.backoff_most_s)
