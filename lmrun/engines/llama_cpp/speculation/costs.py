"""What a decode of so many tokens takes, learned from those that ran. Pure: it knows no clock.

The curve is no straight line: with 2 threads, SmolLM2-135M takes 1.8 times as long for two tokens
as for one, 5.0 times for 9, 8.1 times for 17 and 14.7 times for 33. So it is kept point by point.
"""

from __future__ import annotations

import bisect

_MEMORY = 512
_FALL, _RISE = 0.5, 1.1
_SHARED = 0.9
_WORST_GAIN = 1.1
_LARGEST = 512
_GUESSED_SHARE = 0.5


class CostCurve:
    """Seconds per batch size; between known sizes a straight line."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._seconds: list[float] = []
        self._seen_at: list[int] = []
        self._clock = 0

    def observe(self, tokens: int, seconds: float) -> None:
        """A decode of `tokens` tokens took `seconds`; every token had its logits computed.

        A known size follows downwards at once by half of the way, upwards slowly: a decode that
        was disturbed teaches little. Most of the change goes to all sizes, since a busy machine or
        a longer context slows them all, and large ones are seen rarely. Sizes not seen for 512
        decodes are forgotten: they may have been disturbed. A batch takes longer than a smaller
        one, and hardly longer than its tokens in smaller ones: what says otherwise was disturbed.
        """
        if tokens > _LARGEST:
            return
        self._clock += 1
        place = bisect.bisect_left(self._sizes, tokens)
        if place:
            alone = tokens * self._seconds[place - 1] / self._sizes[place - 1]
            seconds = min(seconds, _WORST_GAIN * alone)
        if place < len(self._sizes) and self._sizes[place] == tokens:
            change = min(1 + _FALL * (seconds / self._seconds[place] - 1), _RISE)
            shared = change**_SHARED
            self._seconds = [known * shared for known in self._seconds]
            self._seconds[place] *= change / shared
            self._seen_at[place] = self._clock
        else:
            self._sizes.insert(place, tokens)
            self._seconds.insert(place, seconds)
            self._seen_at.insert(place, self._clock)
        most = self._seconds[place]
        self._seconds[:place] = [min(known, most) for known in self._seconds[:place]]
        self._forget_one()

    def read(self, first: int, count: int) -> list[float]:
        """Seconds for `first`, `first` + 1, ... tokens, `count` of them; empty when nothing is
        known yet.

        Above the largest known size, a token more is taken for half of that size's average: a
        guess on the low side, so that larger sizes are tried and then known.
        """
        sizes = self._sizes
        if not sizes:
            return []
        place = bisect.bisect_left(sizes, first)
        read = []
        for tokens in range(first, first + count):
            while place < len(sizes) and sizes[place] < tokens:
                place += 1
            read.append(self._at(tokens, place))
        return read

    def _at(self, tokens: int, place: int) -> float:
        """`place`: of the smallest known size that is not below `tokens`."""
        sizes, seconds = self._sizes, self._seconds
        if place == len(sizes):
            beyond = tokens - sizes[-1]
            return seconds[-1] * (1 + _GUESSED_SHARE * beyond / sizes[-1])
        if place == 0 or sizes[place] == tokens:
            return seconds[place]
        share = (tokens - sizes[place - 1]) / (sizes[place] - sizes[place - 1])
        return seconds[place - 1] + share * (seconds[place] - seconds[place - 1])

    def _forget_one(self) -> None:
        """At most one a time: cheap, and enough since one size is added a time."""
        oldest = min(range(len(self._seen_at)), key=self._seen_at.__getitem__)
        if self._clock - self._seen_at[oldest] > _MEMORY:
            del self._sizes[oldest], self._seconds[oldest], self._seen_at[oldest]
