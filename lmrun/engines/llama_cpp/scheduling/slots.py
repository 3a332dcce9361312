"""Which slot a sequence gets, and what sequences that ended left in theirs. Pure: it moves nothing.

llama.cpp computes rows of separate caches together only as long as each belongs to the slot after
the one before, and the rest one after the other; so the slots in use are kept in one run.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.engines.llama_cpp.prefixes.tree import Tokens, common_length
from lmrun.engines.llama_cpp.scheduling.sequence import Namespace, Sequence

WORTH_COPYING = 16
"""Tokens for which cells are copied, where they cannot be shared."""

COPIES_PER_TOKEN = 100
"""Cells that may be copied for each of these tokens. All that a sequence holds is copied, and the
rest is cut off again: 4 to 15 µs a cell of a small model, whose tokens take 2 to 3 ms each."""


def worth_copying(cells: int) -> int:
    """Tokens that a copy of so many cells must save."""
    return max(WORTH_COPYING, cells // COPIES_PER_TOKEN)


@dataclass(slots=True, eq=False)
class Rest:
    """What an ended sequence left in `slot`: all that was computed of `tokens`. `is_parked`: it
    lies outside the KV cache too."""

    slot: int
    namespace: Namespace
    tokens: Tokens
    is_parked: bool = False

    def shares(self, sequence: Sequence, *, whole: bool) -> int:
        """Tokens at the beginning of `sequence` for which it serves; `whole`: all of it or none."""
        if self.namespace != sequence.namespace or sequence.wants_prompt_scores:
            return 0
        length = sequence.longest_share(common_length(sequence.tokens, self.tokens))
        return 0 if whole and length < len(self.tokens) else length


class Slots:
    """`count` slots, from 0 on, and what rests in those that no sequence uses."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._used: set[int] = set()
        self._gaps: list[int] = []
        self._rests: dict[int, Rest] = {}

    @property
    def has_free(self) -> bool:
        return len(self._used) < self._count

    @property
    def rests(self) -> list[Rest]:
        """What rests, the oldest first."""
        return list(self._rests.values())

    def rest_in(self, slot: int) -> Rest | None:
        return self._rests.get(slot)

    def choose(self, sequence: Sequence, *, whole: bool) -> int:
        """The slot for a new sequence: where the most of it rests, if that is worth a choice; else
        an empty one; else the one whose rest is missed the least."""
        ages = {slot: age for age, slot in enumerate(self._rests)}

        def rank(slot: int) -> tuple[int, bool, bool, int]:
            rest = self._rests.get(slot)
            if rest is None:
                return 0, True, True, -slot
            shared = rest.shares(sequence, whole=whole)
            if shared < worth_copying(len(rest.tokens)):
                shared = 0
            return shared, False, rest.is_parked, -ages[slot]

        return max(self._neighbours(), key=rank)

    def take(self, slot: int) -> Rest | None:
        """A sequence uses the slot from now on. What rested in it, and does no more."""
        self._used.add(slot)
        self._note_gaps()
        return self._rests.pop(slot, None)

    def give_back(self, slot: int, rest: Rest | None = None) -> None:
        """No sequence uses the slot any more, in which `rest` is left."""
        self._used.remove(slot)
        self._note_gaps()
        if rest is not None:
            self._rests[slot] = rest

    def touch(self, rest: Rest) -> None:
        """It was used just now."""
        self._rests[rest.slot] = self._rests.pop(rest.slot)

    def forget(self, rest: Rest) -> None:
        del self._rests[rest.slot]

    @property
    def gap(self) -> int | None:
        """The lowest free slot between two that are used."""
        return self._gaps[0] if self._gaps else None

    def _note_gaps(self) -> None:
        """Which free slots lie between two that are used, the lowest first: each step asks."""
        between = range(min(self._used), max(self._used)) if self._used else ()
        self._gaps = [slot for slot in between if slot not in self._used]

    def _neighbours(self) -> list[int]:
        """Free slots with which those in use stay, or come closer to, one run."""
        if not self._used:
            return list(range(self._count))
        beside = (min(self._used) - 1, max(self._used) + 1)
        return self._gaps or [slot for slot in beside if 0 <= slot < self._count]
