"""What the scheduler asks of whoever guesses how a sequence goes on. It knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmrun.engines.llama_cpp.speculation.costs import CostCurve


class Drafter(Protocol):
    """Guesses the next tokens of one sequence, as many as are worth verifying, often none."""

    def propose(
        self, tokens: NDArray[np.int32], most: int, costs: CostCurve, rows: int
    ) -> list[int]:
        """At most `most` tokens that may follow `tokens`, the whole sequence so far.

        `costs`: what decodes of this context take. `rows`: tokens of the next one without the
        guesses, this sequence's own token among them. A proposal may be verified in part.
        """

    def observe(self, drafted: int, accepted: int) -> None:
        """Of the last proposal the first `drafted` tokens, at least one, were verified and
        `accepted` of them were right. Not called for a proposal that was not used."""

    def close(self) -> None:
        """Free what it holds for the sequence. Twice is once."""


class FirstOf:
    """Asks several drafters in turn and takes the first guess there is."""

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        self._drafters = tuple(drafters)
        self._chosen: Drafter | None = None

    def propose(
        self, tokens: NDArray[np.int32], most: int, costs: CostCurve, rows: int
    ) -> list[int]:
        """The first guess that is not empty. Every drafter sees all tokens sooner or later."""
        self._chosen = None
        for drafter in self._drafters:
            guess = drafter.propose(tokens, most, costs, rows)
            if guess:
                self._chosen = drafter
                return guess
        return []

    def observe(self, drafted: int, accepted: int) -> None:
        """Tell whoever guessed."""
        if self._chosen is not None:
            self._chosen.observe(drafted, accepted)

    def close(self) -> None:
        """Close all."""
        for drafter in self._drafters:
            drafter.close()
