"""Prompt lookup: a sequence that repeats itself or its prompt is guessed from where it stood.

It needs no second model and computes nothing. Where guesses do not pay it goes on looking, which
costs microseconds, and learns from what the sequence says instead.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from lmrun.engines.llama_cpp.speculation.costs import CostCurve
from lmrun.engines.llama_cpp.speculation.lengths import Acceptance, choose_length
from lmrun.engines.llama_cpp.speculation.ngrams import Match, NgramIndex

# Measured on SmolLM2-135M, 39 answers: .47 .60 .65 .85 .88 .98 where texts are repeated, .45 .56
# .62 .80 .88 .97 in free prose. Lower where wrong guesses are dearest: at the shortest matches.
_MATCH_BOUNDS = (2, 3, 4, 8, 16)
_MATCH_RATES = (0.3, 0.4, 0.5, 0.75, 0.9, 0.97)

# Guesses start short: measured, one long wrong guess costs a short answer 5 %.
_LEAST_TRUST, _MOST_TRUST = 2, 32


class PromptLookup:
    """A drafter for one sequence."""

    def __init__(self) -> None:
        self._index = NgramIndex()
        self._acceptance = Acceptance(_MATCH_BOUNDS, _MATCH_RATES)
        self._match: Match | None = None
        self._trust = _LEAST_TRUST

    def propose(
        self, tokens: NDArray[np.int32], most: int, costs: CostCurve, rows: int
    ) -> list[int]:
        """What followed the longest match, as much of it as pays; of an image, nothing."""
        self._take(tokens)
        match = self._match = self._index.find()
        if match is None:
            return []
        most = min(most, self._trust)
        length = choose_length(self._acceptance, match.length, most, costs, rows)
        guess = self._index.follow(match.position, length)
        return list(itertools.takewhile(_is_token, guess))

    def observe(self, drafted: int, accepted: int) -> None:
        """Learn from guesses that were verified. A run of right ones earns longer ones."""
        if accepted == drafted:
            self._trust = min(2 * self._trust, _MOST_TRUST)
        else:
            self._trust = max(self._trust // 2, _LEAST_TRUST)
        if self._match is not None:
            self._acceptance.learn(self._match.length, accepted, missed=accepted < drafted)
            self._match = None

    def close(self) -> None:
        """There is nothing to free."""

    def _take(self, tokens: NDArray[np.int32]) -> None:
        """Bring the index up to date; learn from a match that was not used."""
        known = len(self._index)
        if len(tokens) < known:
            # The context was full and something was dropped: begin again with what is left.
            self._index, self._match, known = NgramIndex(), None, 0
        fresh = tokens[known:].tolist()
        if self._match is not None and fresh:
            (guess,) = self._index.follow(self._match.position, 1)
            right = guess == fresh[0]
            self._acceptance.learn(self._match.length, int(right), missed=not right)
        self._index.extend(fresh)


def _is_token(number: int) -> bool:
    """Positions of an image hold negative numbers, which no vocabulary has."""
    return number >= 0
