"""Wrong keys are looked at only so often."""

from __future__ import annotations

from lmrun.api.http.throttle import BURST, MAX_PEERS, REFILL_PER_S, Throttle


def test_a_peer_may_fail_only_so_often() -> None:
    now = 0.0
    throttle = Throttle(lambda: now)
    looked_at = 0
    for _ in range(10_000):
        now += 0.001
        if not throttle.is_exhausted("10.0.0.1"):
            looked_at += 1
            throttle.record_failure("10.0.0.1")
    assert looked_at <= BURST + 10 * REFILL_PER_S + 1
    assert not throttle.is_exhausted("10.0.0.2")
    now += 1
    assert not throttle.is_exhausted("10.0.0.1")


def test_the_memory_for_peers_is_bounded() -> None:
    throttle = Throttle()
    for number in range(MAX_PEERS + 100):
        throttle.record_failure(str(number))
    assert len(throttle._buckets) == MAX_PEERS
