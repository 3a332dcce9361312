"""Where the beginning of a new sequence comes from: a live sequence, one that rests in its slot, a
parked one, or nowhere.

It moves KV cells and computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lmrun.engines.llama_cpp.memory import Memory
from lmrun.engines.llama_cpp.prefixes.parking import Parked, Parking
from lmrun.engines.llama_cpp.prefixes.tree import common_length
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence
from lmrun.engines.llama_cpp.scheduling.slots import Rest, Slots, worth_copying

WORTH_WAITING = 32
"""Tokens that another sequence is about to compute for which a new one waits."""


@dataclass(frozen=True, slots=True)
class Donor:
    """What begins like a new sequence: `length` tokens, `ready` of them computed."""

    source: Sequence | Rest
    length: int
    ready: int


class Placement:
    """Gives new sequences what is known of their prompt. `parking` may be None: nothing is kept."""

    def __init__(self, memory: Memory, slots: Slots, parking: Parking | None) -> None:
        self._memory = memory
        self._slots = slots
        self._parking = parking

    def place(self, sequence: Sequence, others: Iterable[Sequence]) -> None:
        """Give a sequence the longest beginning there is, if it is longer than what it has.

        When one of `others` is about to compute more of it, the sequence gets that one as its
        `donor` instead, and nothing yet.
        """
        sequence.donor = None
        if sequence.wants_prompt_scores:
            return
        donor = self._choose_donor(sequence, others)
        parked = self._find_parked(sequence)
        parked_length = sequence.longest_share(parked.length) if parked else 0
        ready = donor.ready if donor else 0
        best = max(ready, parked_length, sequence.computed)
        awaited = donor.source if donor and donor.length - best >= WORTH_WAITING else None
        if donor is not None and isinstance(awaited, Sequence):
            sequence.donor, sequence.awaited = awaited, donor.length
        elif best == sequence.computed:
            return
        elif donor and ready == best:
            self._take_over(sequence, donor.source, ready)
        elif parked is not None:
            self._unpark(sequence, parked, parked_length)

    def settle(self, sequence: Sequence) -> bool:
        """Take what was waited for, if the donor has it by now. Whether it is so."""
        donor = sequence.donor
        if donor is None:
            return True
        if donor.computed < sequence.awaited:
            return False
        sequence.donor = None
        self._take_over(sequence, donor, sequence.awaited)
        return True

    def inherit(self, sequence: Sequence) -> None:
        """Take what the donor has, before it goes."""
        donor, sequence.donor = sequence.donor, None
        length = min(donor.computed, sequence.awaited) if donor is not None else 0
        if donor is not None and length > sequence.computed:
            self._take_over(sequence, donor, length)

    def _choose_donor(self, sequence: Sequence, others: Iterable[Sequence]) -> Donor | None:
        """What shares most with `sequence`; of equals what is further."""
        donors = [*self._compare_live(sequence, others), *self._compare_rests(sequence)]
        return max(donors, key=lambda each: (each.length, each.ready), default=None)

    def _compare_live(self, sequence: Sequence, others: Iterable[Sequence]) -> Iterator[Donor]:
        traits = self._memory.traits
        for other in others:
            if other.namespace != sequence.namespace or other.order >= sequence.order:
                continue
            shared = sequence.longest_share(common_length(sequence.tokens, other.tokens))
            if traits.can_cut:
                if traits.can_share or self._is_worth_copying(sequence, shared, other.computed):
                    yield Donor(other, shared, min(shared, other.computed))
            elif 0 < other.computed <= shared:
                # A memory that cannot be cut is taken as a whole, at just this moment.
                yield Donor(other, other.computed, other.computed)

    def _compare_rests(self, sequence: Sequence) -> Iterator[Donor]:
        for rest in self._slots.rests:
            shared = rest.shares(sequence, whole=not self._memory.traits.can_cut)
            if self._is_worth_copying(sequence, shared, len(rest.tokens)):
                yield Donor(rest, shared, shared)

    def _is_worth_copying(self, sequence: Sequence, shared: int, cells: int) -> bool:
        return shared - sequence.computed >= worth_copying(cells)

    def _take_over(self, sequence: Sequence, source: Sequence | Rest, length: int) -> None:
        self._memory.clear(sequence.slot)
        sequence.computed = sequence.cached = 0
        if self._memory.traits.can_cut:
            length = sequence.longest_share(length)
        if isinstance(source, Rest):
            self._slots.touch(source)
        if self._memory.give(source.slot, sequence.slot, length):
            sequence.computed = sequence.cached = length

    def _find_parked(self, sequence: Sequence) -> Parked | None:
        """What is parked of its beginning, if it is worth to be put in place of what it has."""
        if self._parking is None:
            return None
        parked = self._parking.find(sequence.namespace, sequence.tokens[: sequence.length - 1])
        if parked is None or not sequence.computed:
            return parked
        is_worth = self._is_worth_copying(sequence, parked.length, parked.segment.end)
        return parked if is_worth else None

    def _unpark(self, sequence: Sequence, parked: Parked, length: int) -> None:
        assert self._parking is not None
        self._memory.clear(sequence.slot)
        sequence.computed = sequence.cached = 0
        if not self._parking.restore(parked, sequence.slot):
            return
        if length < parked.length and not self._memory.cut(sequence.slot, length):
            self._memory.clear(sequence.slot)
            return
        sequence.computed = sequence.cached = length
