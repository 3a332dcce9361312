"""Sequences come into slots, leave what they computed there, and change slots. It moves KV cells,
and computes nothing.

With separate caches what an ended sequence computed rests in its slot until another one needs the
slot: it slows nobody there, and the next turn of a conversation finds it in place. It is parked
when there is nothing else to do. In a unified pool, where every decode steps over it, it is parked
at once.
"""

from __future__ import annotations

from lmrun.engines.llama_cpp.memory import Memory
from lmrun.engines.llama_cpp.prefixes.parking import SHORTEST, Parking
from lmrun.engines.llama_cpp.prefixes.tree import common_length
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence
from lmrun.engines.llama_cpp.scheduling.slots import Rest, Slots, worth_copying


class Seating:
    """`parking`: where what leaves its slot is kept; None keeps nothing, anywhere."""

    def __init__(self, memory: Memory, slots: Slots, parking: Parking | None) -> None:
        self._memory = memory
        self._slots = slots
        self._parking = parking
        self._whole = not memory.traits.can_cut
        self._lets_rest = parking is not None and parking.limit > 0 and not memory.traits.unified

    def seat(self, sequence: Sequence) -> None:
        """Give a new sequence its slot, and what already lies there of its beginning."""
        slot = sequence.slot = self._slots.choose(sequence, whole=self._whole)
        rest = self._slots.take(slot)
        if rest is None:
            return
        shared = rest.shares(sequence, whole=self._whole)
        lost = len(rest.tokens) - shared
        # What cannot be cut can never be had again as it was before it went on.
        if lost >= worth_copying(len(rest.tokens)) or self._whole:
            self._park(rest)
        if shared and (not lost or self._memory.cut(slot, shared)):
            sequence.computed = sequence.cached = shared
            if rest.is_parked and self._parking is not None:
                self._parking.touch(rest.namespace, rest.tokens)
        else:
            self._memory.clear(slot)

    def leave(self, sequence: Sequence, *, park: bool) -> None:
        """Take an ended sequence's slot from it. With `park`, what it computed may serve others."""
        rest = None
        if park and self._lets_rest and sequence.computed >= SHORTEST:
            self._cut_guesses(sequence)
            known = sequence.tokens[: sequence.computed].copy()
            rest = Rest(sequence.slot, sequence.namespace, known)
            if not self._whole:
                self._drop_beginnings(rest)
        else:
            self.empty(sequence, park=park)
        self._slots.give_back(sequence.slot, rest)

    def empty(self, sequence: Sequence, *, park: bool) -> None:
        """Empty the slot of a sequence that keeps it. `park`: what it computed may serve others."""
        if park and self._parking is not None and sequence.computed:
            self._cut_guesses(sequence)
            known = sequence.tokens[: sequence.computed]
            self._parking.park(sequence.namespace, known, sequence.slot)
        self._memory.clear(sequence.slot)

    def park_one(self) -> bool:
        """Copy something that rests out of the KV cache, so that its slot is had at once when it is
        needed. Whether there was something."""
        rest = next((rest for rest in self._slots.rests if not rest.is_parked), None)
        if rest is not None:
            self._park(rest)
        return rest is not None

    def close(self) -> None:
        """Nothing comes any more: park what files should hold."""
        while self._parking is not None and self._parking.persists and self.park_one():
            pass

    def count_cells(self, mover: Sequence, gap: int) -> int:
        """Cells that `close_gap` copies."""
        rest = self._slots.rest_in(gap)
        return mover.computed + (len(rest.tokens) if rest else 0)

    def close_gap(self, mover: Sequence, gap: int) -> None:
        """Move a live sequence into a free slot. What rests there goes where it comes from."""
        rest = self._slots.take(gap)
        state = self._memory.export(gap) if rest else None
        self._memory.clear(gap)
        origin = mover.slot
        if mover.computed and not self._memory.restore(gap, self._memory.export(origin)):
            kept = rest is not None and state is not None and self._memory.restore(gap, state)
            self._slots.give_back(gap, rest if kept else None)
            return
        self._memory.clear(origin)
        mover.slot = gap
        if rest is not None and state is not None and self._memory.restore(origin, state):
            rest.slot = origin
        else:
            rest = None
        self._slots.give_back(origin, rest)

    def _park(self, rest: Rest) -> None:
        if self._parking is not None and not rest.is_parked:
            self._parking.park(rest.namespace, rest.tokens, rest.slot)
            rest.is_parked = True

    def _drop_beginnings(self, rest: Rest) -> None:
        """What rests and is but the beginning of `rest` serves for nothing that it does not."""
        for other in self._slots.rests:
            is_same = other.namespace == rest.namespace
            if is_same and common_length(other.tokens, rest.tokens) == len(other.tokens):
                self._slots.forget(other)
                self._memory.clear(other.slot)

    def _cut_guesses(self, sequence: Sequence) -> None:
        if self._memory.last_position(sequence.slot) >= sequence.computed:
            self._memory.cut(sequence.slot, sequence.computed)
