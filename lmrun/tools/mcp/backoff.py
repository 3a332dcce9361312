"""When a server that failed is started again. Pure: the time is handed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`first_s` after a first failure, doubling up to `longest_s`. After `most` in a row it is only
    tried again when somebody needs it. One that ran for `steady_s` begins anew."""

    first_s: float = 0.5
    longest_s: float = 60.0
    steady_s: float = 10.0
    most: int = 6

    def count(self, failures: int, ran_s: float) -> int:
        """Failures in a row, now that it failed after `ran_s` of being ready."""
        return 1 if ran_s >= self.steady_s else failures + 1

    def delay_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        return float(min(self.first_s * 2 ** (min(failures, 32) - 1), self.longest_s))


DEFAULT_BACKOFF = Backoff()
