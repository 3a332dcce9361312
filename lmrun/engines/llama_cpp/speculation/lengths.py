"""How many tokens to guess: as many as make decoding faster, often none. Pure.

A guess has a confidence, a whole number that grows by one with each of its tokens that is right:
for a repetition, how many tokens before it were the same. Of each range of confidences is known how
often the next token was right, so that the chance of a whole guess is a product of such rates.
"""

from __future__ import annotations

import bisect

from lmrun.engines.llama_cpp.speculation.costs import CostCurve

_WEIGHT = 8.0
_WINDOW = 64.0
_UNLIKELY = 0.02


class Acceptance:
    """How often the next token of a guess is right, by confidence.

    `bounds`: the largest confidence of each range but the last; `priors`: a rate for every range,
    worth 8 observations. What happened 64 observations ago counts a third.
    """

    def __init__(self, bounds: tuple[int, ...], priors: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._right = [prior * _WEIGHT for prior in priors]
        self._seen = [_WEIGHT] * len(priors)

    def rate(self, confidence: int) -> float:
        """0 to 1."""
        place = bisect.bisect_left(self._bounds, confidence)
        return self._right[place] / self._seen[place]

    def learn(self, confidence: int, right: int, *, missed: bool) -> None:
        """A guess of this confidence had `right` right tokens; then a wrong one, if it `missed`."""
        for step in range(right):
            self._count(confidence + step, 1.0)
        if missed:
            self._count(confidence + right, 0.0)

    def _count(self, confidence: int, right: float) -> None:
        place = bisect.bisect_left(self._bounds, confidence)
        kept = 1 - 1 / _WINDOW
        self._right[place] = self._right[place] * kept + right
        self._seen[place] = self._seen[place] * kept + 1


def choose_length(
    acceptance: Acceptance,
    confidence: int,
    most: int,
    costs: CostCurve,
    rows: int,
    guess_s: float = 0.0,
) -> int:
    """How many tokens to guess, 0 to `most`, for the most tokens per second of all sequences.

    A decode of `rows` tokens gives `rows` tokens; with k guesses it takes as long as `rows` + k
    and gives the right ones on top. `guess_s`: what making one guess takes. 0 while no decode was
    measured.
    """
    seconds = costs.read(rows, most + 1)
    if not seconds:
        return 0
    best, length = rows / seconds[0], 0
    chance, expected = 1.0, float(rows)
    for count in range(1, most + 1):
        chance *= acceptance.rate(confidence + count - 1)
        if chance < _UNLIKELY:
            break
        expected += chance
        speed = expected / (seconds[count] + count * guess_s)
        if speed > best:
            best, length = speed, count
    return length


class Retry:
    """When to try again what did not pay: after 32 times, then 64, and so on up to 1,024."""

    _FIRST, _LONGEST = 32, 1024

    def __init__(self) -> None:
        self._interval = self._FIRST
        self._passed = 0

    def reset(self) -> None:
        """It paid."""
        self._interval, self._passed = self._FIRST, 0

    def is_due(self) -> bool:
        """One more time that it is not done; whether to do it after all."""
        self._passed += 1
        if self._passed < self._interval:
            return False
        self._interval, self._passed = min(2 * self._interval, self._LONGEST), 0
        return True
