"""Finished sequences, parked in RAM: out of the KV pool, where foreign tokens slow every decode.

Prefixes that several sequences share are kept once. It knows no sequence that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from lmrun.engines.llama_cpp.memory import Memory, State
from lmrun.engines.llama_cpp.prefixes.tree import Match, PrefixTree, Segment, Tokens

SHORTEST = 16
"""Tokens below which computing again is cheaper than keeping."""

Source = State | Callable[[], State | None]
"""A state, or where to get it; None then means that it is lost."""

Parked = Match[Source]


class Parking:
    """At most `limit` bytes of states. `scratch`: a slot that no sequence uses."""

    def __init__(self, memory: Memory, scratch: int, limit: int) -> None:
        self._memory = memory
        self._scratch = scratch
        self.limit = limit
        # Only a memory that can be cut and shared takes a sequence in pieces.
        self._in_pieces = memory.traits.can_share
        self._tree: PrefixTree[Source] = PrefixTree(whole=not memory.traits.can_cut)

    @property
    def size(self) -> int:
        """Bytes of all states, also of those that lie in files."""
        return self._tree.size

    @property
    def count(self) -> int:
        return self._tree.count

    def find(self, namespace: Hashable, tokens: Tokens) -> Parked | None:
        """The longest beginning of `tokens` that is parked."""
        return self._tree.find(namespace, tokens)

    def park(self, namespace: Hashable, tokens: Tokens, slot: int) -> None:
        """Keep what `slot` holds, which is `tokens`; the slot is empty afterwards."""
        known = self._tree.find(namespace, tokens) if self.limit else None
        begin = known.length if known else 0
        if self.limit and len(tokens) - begin >= SHORTEST:
            self._keep(namespace, known, tokens, slot)
        elif known is not None:
            self._tree.touch(known)
        self._memory.clear(slot)

    def adopt(
        self, namespace: Hashable, tokens: Tokens, begin: int, source: Source, size: int
    ) -> bool:
        """Take over a segment from elsewhere; False when what comes before it is not there."""
        before = self._tree.find(namespace, tokens[:begin]) if begin else None
        if (before.length if before else 0) != begin:
            return False
        self._tree.add(namespace, before, tokens[begin:], source, size)
        self._tree.evict(self.limit)
        return True

    def restore(self, parked: Parked, slot: int) -> bool:
        """Put a parked prefix into the empty `slot`. False: it could not be had, `slot` is empty.

        What is lost is forgotten, with all that came after it.
        """
        for number, (segment, end) in enumerate(parked.pieces()):
            target = slot if number == 0 else self._scratch
            if not self._restore_piece(segment, end, target):
                self._memory.clear(slot)
                return False
            if target != slot:
                self._memory.share_all(target, slot)
                self._memory.clear(target)
        self._tree.touch(parked)
        return True

    def segments(self) -> Iterator[tuple[Hashable, Segment[Source]]]:
        """All of them, parents before children."""
        return iter(self._tree)

    def _keep(self, namespace: Hashable, known: Parked | None, tokens: Tokens, slot: int) -> None:
        if not self._in_pieces:
            known = None
        begin = known.length if known else 0
        if known is not None:
            self._tree.touch(known)
            self._memory.drop_beginning(slot, begin)
        state = self._memory.export(slot)
        if state.size > self.limit:
            return
        self._tree.add(namespace, known, tokens[begin:].copy(), state, state.size)
        self._tree.evict(self.limit)

    def _restore_piece(self, segment: Segment[Source], end: int, slot: int) -> bool:
        state = segment.payload() if callable(segment.payload) else segment.payload
        if state is None:
            self._forget(segment)
            return False
        segment.payload = state
        if not self._memory.restore(slot, state):
            return False
        return end == segment.end or self._memory.cut(slot, end)

    def _forget(self, segment: Segment[Source]) -> None:
        for group in list(segment.children.values()):
            for child in list(group):
                self._forget(child)
        self._tree.remove(segment)
