"""When a failed action is tried again. Pure: the time is handed in."""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.errors import LmrunError, RolledBack

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0


@dataclass(frozen=True, slots=True)
class Failure:
    """`count` failures in a row, the last with `error`; the next try is due at `retry_at_s`."""

    error: LmrunError
    count: int
    retry_at_s: float


def add_failure(previous: Failure | None, error: LmrunError, now_s: float) -> Failure:
    """1 s after the first failure, doubling up to 5 minutes; 5 minutes at once where each try makes
    requests wait."""
    count = (previous.count if previous else 0) + 1
    delay_s = min(FIRST_DELAY_S * 2 ** (count - 1), LONGEST_DELAY_S)
    if isinstance(error, RolledBack) and error.is_disruptive:
        delay_s = LONGEST_DELAY_S
    return Failure(error=error, count=count, retry_at_s=now_s + delay_s)
