"""Where the end of a token sequence occurred before, and what followed it there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LONGEST_MATCH = 17
"""Longer matches are no better guesses: of those the next token was right in 98 of 100."""
_SHORTEST_MATCH = 2
_CANDIDATES = 32
_NOWHERE = -1


class Match(NamedTuple):
    """The last `length` tokens stand before `position` too; `length` counts up to 17."""

    position: int
    length: int


class NgramIndex:
    """The tokens of one sequence by the pairs in them.

    Each pair knows its latest place, each place the one before: a token costs one look-up, and
    following the chain finds the longest match of any length among the latest 32.
    """

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._latest: dict[tuple[int, int], int] = {}
        self._earlier: list[int] = []
        self.extend(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens."""
        known, latest, earlier = self._tokens, self._latest, self._earlier
        for token in tokens:
            place = len(known)
            if place < _SHORTEST_MATCH:
                earlier.append(_NOWHERE)
            else:
                # The newest pair stays out until this: something follows it now.
                pair = (known[-2], known[-1])
                earlier.append(latest.get(pair, _NOWHERE))
                latest[pair] = place
            known.append(token)

    def find(self) -> Match | None:
        """The longest earlier occurrence of the last tokens, of equally long ones the latest.

        At least two tokens have to be the same.
        """
        known = self._tokens
        if len(known) <= _SHORTEST_MATCH:
            return None
        place = self._latest.get((known[-2], known[-1]), _NOWHERE)
        best: Match | None = None
        for _ in range(_CANDIDATES):
            if place == _NOWHERE:
                break
            length = self._measure(place)
            if best is None or length > best.length:
                best = Match(place, length)
                if length == LONGEST_MATCH:
                    break
            place = self._earlier[place]
        return best

    def follow(self, position: int, count: int) -> list[int]:
        """The `count` tokens from `position` on; past the end, the copy itself goes on.

        That is LZ77's overlapping copy: "a b a b" followed from its "a" is "a b a b a b ...".
        """
        guess = self._tokens[position : position + count]
        period = len(self._tokens) - position
        while len(guess) < count:
            guess += guess[len(guess) - period :][: count - len(guess)]
        return guess

    def propose(self, most: int) -> list[int]:
        """The `most` tokens that followed the longest match; none where nothing matches."""
        match = self.find()
        return self.follow(match.position, most) if match else []

    def _measure(self, place: int) -> int:
        """How many tokens before `place` are those at the end."""
        known, end = self._tokens, len(self._tokens)
        longest = min(LONGEST_MATCH, place)
        length = _SHORTEST_MATCH
        while length < longest and known[place - length - 1] == known[end - length - 1]:
            length += 1
        return length
