"""Where a lazy constraint begins: the first of some texts in an answer. It knows no grammar.

The text is searched as bytes, across tokens. A token may hold a trigger's end and more; whether
the grammar takes that rest is asked once per token and place, when the constraint is compiled.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Candidates = dict[bytes, set[int]]
"""Tokens by a tail, the beginning of a trigger."""

_LAST_BYTE = b"\xff"


class Trigger:
    """`triggers`: the texts, not empty. `pieces`: what each token adds to the text.

    `is_allowed`: whether the grammar takes this beginning, a trigger and what follows it.
    `candidates`: what `find_candidates` finds in them, if that is known already.
    """

    def __init__(
        self,
        triggers: Sequence[bytes],
        pieces: Sequence[bytes],
        is_allowed: Callable[[bytes], bool],
        candidates: Candidates | None = None,
    ) -> None:
        self._triggers = triggers
        self._pieces = pieces
        self._is_allowed = is_allowed
        self._allowed: dict[bytes, bool] = {}
        candidates = candidates or find_candidates(triggers, pieces)
        self._banned = {
            tail: self._choose_banned(tail, found) for tail, found in candidates.items()
        }

    def search(self, tail: bytes, token: int) -> tuple[bytes, bytes | None]:
        """After `token`: the new tail, and the grammar's first text once a trigger is complete.

        `tail`: the end of the text so far that may become a trigger; empty at the beginning.
        """
        return self.search_text(tail + self._pieces[token])

    def search_text(self, text: bytes) -> tuple[bytes, bytes | None]:
        """The same for a tail and what follows it."""
        begin = self._find_begin(text)
        return (b"", text[begin:]) if begin >= 0 else (self._cut_tail(text), None)

    def banned(self, tail: bytes) -> NDArray[np.int64]:
        """Tokens that would complete a trigger and go on as the grammar does not, ascending."""
        return self._banned[tail]

    def _find_begin(self, text: bytes) -> int:
        """Where the trigger that is complete first begins; of several, the longest. -1: none."""
        found = [(text.find(trigger), trigger) for trigger in self._triggers]
        ends = [(begin + len(trigger), begin) for begin, trigger in found if begin >= 0]
        return min(ends)[1] if ends else -1

    def _cut_tail(self, text: bytes) -> bytes:
        longest = max(map(len, self._triggers)) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(trigger.startswith(text[-length:]) for trigger in self._triggers):
                return text[-length:]
        return b""

    def _choose_banned(self, tail: bytes, candidates: set[int]) -> NDArray[np.int64]:
        banned = []
        for token in candidates:
            _, begin = self.search(tail, token)
            if begin is not None and not self._is_allowed_begin(begin):
                banned.append(token)
        return np.array(sorted(banned), dtype=np.int64)

    def _is_allowed_begin(self, begin: bytes) -> bool:
        if begin not in self._allowed:
            self._allowed[begin] = self._is_allowed(begin)
        return self._allowed[begin]


def find_candidates(triggers: Sequence[bytes], pieces: Sequence[bytes]) -> Candidates:
    """Tokens that may complete a trigger after each tail: those that hold one, or its rest.

    Looks at the whole vocabulary: 35 ms for 49,000 tokens.
    """
    tails = {trigger[:length] for trigger in triggers for length in range(len(trigger))}
    whole = {t for t, piece in enumerate(pieces) if any(trigger in piece for trigger in triggers)}
    order = sorted(range(len(pieces)), key=pieces.__getitem__)
    ordered = [pieces[token] for token in order]
    candidates: Candidates = {}
    for tail in tails:
        candidates[tail] = set(whole)
        for trigger in triggers:
            for length in range(1, min(len(tail), len(trigger) - 1) + 1):
                if trigger.startswith(tail[-length:]):
                    rest = trigger[length:]
                    first = bisect_left(ordered, rest)
                    last = bisect_left(ordered, rest + _LAST_BYTE * 4)
                    candidates[tail].update(order[first:last])
    return candidates
