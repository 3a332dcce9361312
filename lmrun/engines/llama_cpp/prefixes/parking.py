"""Finished sequences, parked in RAM: out of the KV pool, where foreign tokens slow every decode.

Prefixes that several sequences share are kept once. It knows no sequence that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

from lmrun.engines.llama_cpp.memory import Memory, State
from lmrun.engines.llama_cpp.prefixes.files import PrefixFiles, StoredPrefix
from lmrun.engines.llama_cpp.prefixes.tree import Match, PrefixTree, Segment, Tokens

SHORTEST = 16
"""Tokens below which computing again is cheaper than keeping."""

SAVING_S = 2.0
"""Most seconds that a model's end waits for prefixes to be written."""

Source = State | Callable[[], State | None]
"""A state, or where to get it; None then means that it is lost."""

Parked = Match[Source]


class Parking:
    """At most `limit` bytes of states. `scratch`: a slot that no sequence uses. `files`: where
    prefixes outlive the process, None for nowhere; what lies there already is known at once."""

    def __init__(
        self, memory: Memory, scratch: int, limit: int, files: PrefixFiles | None = None
    ) -> None:
        self._memory = memory
        self._scratch = scratch
        self.limit = limit
        self._files = files
        self._saved: dict[Segment[Source], Path] = {}
        # Only a memory that can be cut and shared takes a sequence in pieces.
        self._in_pieces = memory.traits.can_share
        self._tree: PrefixTree[Source] = PrefixTree(whole=not memory.traits.can_cut)
        for stored in files.scan() if files is not None else ():
            self._adopt(stored)

    @property
    def size(self) -> int:
        """Bytes of all states, also of those that lie in files."""
        return self._tree.size

    @property
    def count(self) -> int:
        return self._tree.count

    @property
    def persists(self) -> bool:
        """Whether what is parked outlives the process."""
        return self._files is not None

    def find(self, namespace: Hashable, tokens: Tokens) -> Parked | None:
        """The longest beginning of `tokens` that is parked."""
        return self._tree.find(namespace, tokens)

    def park(self, namespace: Hashable, tokens: Tokens, slot: int) -> None:
        """Keep what `slot` holds, which is `tokens`. In a unified pool the slot may have lost its
        beginning afterwards."""
        known = self._tree.find(namespace, tokens) if self.limit else None
        begin = known.length if known else 0
        if self.limit and len(tokens) - begin >= SHORTEST:
            self._keep(namespace, known, tokens, slot)
        elif known is not None:
            self._tree.touch(known)

    def touch(self, namespace: Hashable, tokens: Tokens) -> None:
        """What is parked of `tokens` was used just now, from where it also lies."""
        known = self._tree.find(namespace, tokens)
        if known is not None:
            self._tree.touch(known)

    def restore(self, parked: Parked, slot: int) -> bool:
        """Put a parked prefix into the empty `slot`. False: it could not be had, `slot` is empty.

        What is lost is forgotten, with all that came after it.
        """
        for number, (segment, end) in enumerate(parked.pieces()):
            target = slot if number == 0 else self._scratch
            if not self._restore_piece(segment, end, target):
                self._memory.clear(target)
                self._memory.clear(slot)
                return False
            if target != slot:
                self._memory.share_all(target, slot)
                self._memory.clear(target)
        self._tree.touch(parked)
        return True

    def save_one(self) -> bool:
        """Begin to write a prefix that was used again, if none is being written. Whether it did."""
        if self._files is None or self._files.is_writing:
            return False
        for namespace, segment in self._tree:
            if segment.hits and segment not in self._saved:
                self._save(self._files, namespace, segment)
                return True
        return False

    def close(self) -> None:
        """Write what has no file yet, as much of it as SAVING_S allows.

        What was used most comes first, so that beginnings come before what builds on them.
        """
        if self._files is None:
            return
        for namespace, segment in sorted(self._tree, key=_heat, reverse=True):
            if segment not in self._saved:
                self._save(self._files, namespace, segment)
        self._files.close(SAVING_S)

    def _save(self, files: PrefixFiles, namespace: Hashable, segment: Segment[Source]) -> None:
        assert segment.payload is not None and not callable(segment.payload)
        self._saved[segment] = files.save(
            namespace, segment.all_tokens(), segment.begin, segment.payload
        )

    def _adopt(self, stored: StoredPrefix) -> None:
        """Know a stored prefix, if what comes before it is known."""
        before = None
        if stored.begin:
            before = self._tree.find(stored.namespace, stored.tokens[: stored.begin])
        if (before.length if before else 0) == stored.begin and stored.size <= self.limit:
            tokens = stored.tokens[stored.begin :]
            added = self._tree.add(stored.namespace, before, tokens, stored.read, stored.size)
            self._saved[added] = stored.path
            self._evict()
        elif self._files is not None:
            self._files.delete(stored.path)

    def _evict(self) -> None:
        for segment in self._tree.evict(self.limit):
            self._delete_file(segment)

    def _delete_file(self, segment: Segment[Source]) -> None:
        path = self._saved.pop(segment, None)
        if path is not None and self._files is not None:
            self._files.delete(path)

    def _keep(self, namespace: Hashable, known: Parked | None, tokens: Tokens, slot: int) -> None:
        replaced, known = (None, known) if self._in_pieces else (known, None)
        begin = known.length if known else 0
        if known is not None:
            self._tree.touch(known)
            self._memory.drop_beginning(slot, begin)
        if self._memory.measure(slot) > self.limit:
            return
        self._replace(replaced)
        state = self._memory.export(slot)
        self._tree.add(namespace, known, tokens[begin:].copy(), state, state.size)
        self._evict()

    def _replace(self, known: Parked | None) -> None:
        """A whole sequence that can be cut serves for all its beginnings: drop an older one."""
        is_all = known is not None and known.length == known.segment.end
        if known is not None and is_all and self._memory.traits.can_cut:
            self._tree.remove(known.segment)
            self._delete_file(known.segment)

    def _restore_piece(self, segment: Segment[Source], end: int, slot: int) -> bool:
        state = segment.payload() if callable(segment.payload) else segment.payload
        if state is None:
            self._forget(segment)
            return False
        segment.payload = state
        if not self._memory.restore(slot, state):
            if not self._memory.traits.unified:
                # A cache of its own always has room: it is the state that will not do.
                self._forget(segment)
            return False
        return end == segment.end or self._memory.cut(slot, end)

    def _forget(self, segment: Segment[Source]) -> None:
        """Drop a segment and all that builds on it."""
        branch = [segment]
        for each in branch:
            branch += [child for group in each.children.values() for child in group]
        for each in reversed(branch):
            self._tree.remove(each)
            self._delete_file(each)


def _heat(entry: tuple[Hashable, Segment[Source]]) -> tuple[int, int]:
    _, segment = entry
    return segment.hits, segment.used
