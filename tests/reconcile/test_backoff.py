"""When failed actions are tried again."""

from __future__ import annotations

from lmrun.errors import LmrunError
from lmrun.reconcile.backoff import LONGEST_DELAY_S, Failure, add_failure


def test_delays_double_up_to_five_minutes() -> None:
    failure: Failure | None = None
    delays = []
    for _ in range(12):
        failure = add_failure(failure, LmrunError("no"), now_s=100.0)
        delays.append(failure.retry_at_s - 100.0)
    assert delays[:4] == [1.0, 2.0, 4.0, 8.0]
    assert delays[-1] == LONGEST_DELAY_S
