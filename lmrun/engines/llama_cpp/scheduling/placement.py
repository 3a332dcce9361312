"""Where the beginning of a new sequence comes from: a live sequence, a parked one, or nowhere.

It moves KV cells and computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lmrun.engines.llama_cpp.memory import Memory
from lmrun.engines.llama_cpp.prefixes.parking import Parked, Parking
from lmrun.engines.llama_cpp.prefixes.tree import common_length
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence

WORTH_WAITING = 32
"""Tokens that another sequence is about to compute for which a new one waits."""

WORTH_COPYING = 32
"""Tokens for which another sequence's cells are copied, where they cannot be shared."""

_COPIES_PER_TOKEN = 100
"""Cells that may be copied for each of these tokens. All that a sequence holds is copied, and the
rest is cut off again: 4 to 15 µs a cell of a small model, whose tokens take 2 to 3 ms each."""


@dataclass(frozen=True, slots=True)
class Donor:
    """A live sequence that begins like a new one: `length` tokens, `ready` of them computed."""

    sequence: Sequence
    length: int
    ready: int


class Placement:
    """Gives new sequences what is known of their prompt. `parking` may be None: nothing is kept."""

    def __init__(self, memory: Memory, parking: Parking | None) -> None:
        self._memory = memory
        self._parking = parking

    def place(self, sequence: Sequence, others: Iterable[Sequence]) -> None:
        """Give a sequence the longest beginning there is, if it is longer than what it has.

        When one of `others` is about to compute more of it, the sequence gets that one as its
        `donor` instead, and nothing yet.
        """
        sequence.donor = None
        if sequence.wants_prompt_scores:
            return
        donor = choose_donor(sequence, others, self._memory)
        parked = self._find_parked(sequence)
        parked_length = sequence.longest_share(parked.length) if parked else 0
        ready = donor.ready if donor else 0
        best = max(ready, parked_length, sequence.computed)
        if donor and donor.length - best >= WORTH_WAITING:
            sequence.donor, sequence.awaited = donor.sequence, donor.length
        elif best == sequence.computed:
            return
        elif donor and ready == best:
            self._take_over(sequence, donor.sequence, ready)
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

    def release(self, sequence: Sequence, *, park: bool) -> None:
        """Empty the slot of `sequence`; what it computed may serve a later one."""
        if park and self._parking is not None and sequence.computed:
            known = sequence.tokens[: sequence.computed]
            if self._memory.last_position(sequence.slot) >= sequence.computed:
                self._memory.cut(sequence.slot, sequence.computed)
            self._parking.park(sequence.namespace, known, sequence.slot)
        else:
            self._memory.clear(sequence.slot)

    def _take_over(self, sequence: Sequence, donor: Sequence, length: int) -> None:
        self._memory.clear(sequence.slot)
        sequence.computed = sequence.cached = 0
        if not self._memory.traits.can_cut:
            self._memory.share_all(donor.slot, sequence.slot)
        else:
            length = sequence.longest_share(length)
            if not self._memory.give(donor.slot, sequence.slot, length):
                return
        sequence.computed = sequence.cached = length

    def _find_parked(self, sequence: Sequence) -> Parked | None:
        if self._parking is None:
            return None
        return self._parking.find(sequence.namespace, sequence.tokens[: sequence.length - 1])

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


def choose_donor(sequence: Sequence, others: Iterable[Sequence], memory: Memory) -> Donor | None:
    """The live sequence that shares most with `sequence`; of equals the one that is further."""
    best: Donor | None = None
    for other in others:
        donor = _compare(sequence, other, memory)
        if donor and (best is None or (donor.length, donor.ready) > (best.length, best.ready)):
            best = donor
    return best


def _compare(sequence: Sequence, other: Sequence, memory: Memory) -> Donor | None:
    if other.namespace != sequence.namespace or other.order >= sequence.order:
        return None
    shared = common_length(sequence.tokens, other.tokens)
    if memory.traits.can_cut:
        length = sequence.longest_share(shared)
        shortest = 1 if memory.traits.can_share else _worth_copying(other)
        ready = min(length, other.computed)
        return Donor(other, length, ready) if length >= shortest else None
    # A memory that cannot be cut is taken as a whole, at just this moment.
    whole = other.computed
    if memory.traits.can_copy and 0 < whole <= sequence.longest_share(shared):
        return Donor(other, whole, whole)
    return None


def _worth_copying(other: Sequence) -> int:
    return max(WORTH_COPYING, other.computed // _COPIES_PER_TOKEN)
