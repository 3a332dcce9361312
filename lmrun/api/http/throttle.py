"""A budget of failures per peer. It knows no HTTP and no key."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

BURST = 100
REFILL_PER_S = 5.0
MAX_PEERS = 4096


class Throttle:
    """Token buckets, one per peer: `BURST` failures at once, then `REFILL_PER_S`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def is_exhausted(self, peer: str) -> bool:
        """Whether the peer must wait before another attempt is looked at."""
        return self._level(peer) < 1.0

    def record_failure(self, peer: str) -> None:
        self._buckets[peer] = (self._level(peer) - 1.0, self._clock())
        self._buckets.move_to_end(peer)
        while len(self._buckets) > MAX_PEERS:
            self._buckets.popitem(last=False)

    def _level(self, peer: str) -> float:
        bucket = self._buckets.get(peer)
        if bucket is None:
            return BURST
        level, since = bucket
        return min(BURST, level + (self._clock() - since) * REFILL_PER_S)
