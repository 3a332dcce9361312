"""A radix tree over token ids, whose edges are what was computed for them. It knows no llama.cpp.

A segment stands for the tokens from `begin` to `end` of every sequence that goes through it; what
comes before are its ancestors' tokens. Segments are never split: one that is left in its middle
keeps its payload, and whoever follows the path uses a part of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Payload = TypeVar("Payload")


def common_length(left: Tokens, right: Tokens) -> int:
    """How many tokens two sequences share from their beginning."""
    length = min(len(left), len(right))
    different = left[:length] != right[:length]
    first = int(different.argmax()) if length else 0
    return first if length and different[first] else length


@dataclass(slots=True, eq=False)
class Segment(Generic[Payload]):
    """Tokens `begin` to `end` below `parent`. `size`: bytes that its payload takes."""

    parent: Segment[Payload] | None
    begin: int
    tokens: Tokens
    payload: Payload | None
    size: int = 0
    used: int = 0
    hits: int = 0
    children: dict[tuple[int, int], list[Segment[Payload]]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.begin + len(self.tokens)

    @property
    def is_leaf(self) -> bool:
        return not self.children

    def path(self) -> list[Segment[Payload]]:
        """Itself and its ancestors, the oldest first; the root, which holds nothing, left out."""
        steps: list[Segment[Payload]] = []
        segment: Segment[Payload] | None = self
        while segment is not None and segment.parent is not None:
            steps.append(segment)
            segment = segment.parent
        return steps[::-1]

    def all_tokens(self) -> Tokens:
        """From the very beginning to its end."""
        path = self.path()
        pieces = [
            segment.tokens[: following.begin - segment.begin]
            for segment, following in itertools.pairwise(path)
        ]
        return np.concatenate([*pieces, self.tokens])


@dataclass(frozen=True, slots=True)
class Match(Generic[Payload]):
    """The first `length` tokens are known, up to somewhere in `segment`."""

    segment: Segment[Payload]
    length: int

    def pieces(self) -> Iterator[tuple[Segment[Payload], int]]:
        """Each segment of the path, with the position up to which it is used."""
        path = self.segment.path()
        for segment, following in itertools.pairwise(path):
            yield segment, following.begin
        if path:
            yield path[-1], self.length


class PrefixTree(Generic[Payload]):
    """All known prefixes, least recently used ones first to go.

    `namespace` keeps apart what equal tokens do not make equal, such as adapters. `whole`: a
    segment can only be used up to its very end.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._roots: dict[Hashable, Segment[Payload]] = {}
        self._clock = itertools.count(1)
        self.size = 0
        self.count = 0

    def find(self, namespace: Hashable, tokens: Tokens) -> Match[Payload] | None:
        """The longest known beginning of `tokens`; None when there is none."""
        root = self._roots.get(namespace)
        if root is None:
            return None
        best, further = None, self._extend(Match(root, 0), tokens)
        while further is not None:
            best, further = further, self._extend(further, tokens)
        return best

    def touch(self, match: Match[Payload]) -> None:
        """It was used just now."""
        for segment, _ in match.pieces():
            segment.used = next(self._clock)
            segment.hits += 1

    def add(
        self,
        namespace: Hashable,
        after: Match[Payload] | None,
        tokens: Tokens,
        payload: Payload,
        size: int,
    ) -> Segment[Payload]:
        """A new segment that holds `tokens`, behind `after` or at the beginning."""
        if after is None:
            parent, begin = self._roots.get(namespace) or self._make_root(namespace, tokens), 0
        else:
            parent, begin = after.segment, after.length
        segment = Segment(parent, begin, tokens, payload, size, next(self._clock))
        parent.children.setdefault((begin, int(tokens[0])), []).append(segment)
        self.size += size
        self.count += 1
        return segment

    def evict(self, most: int) -> list[Segment[Payload]]:
        """Drop the least recently used ends until at most `most` bytes are left."""
        gone: list[Segment[Payload]] = []
        while self.size > most:
            oldest = min(self._leaves(), key=lambda segment: segment.used)
            self.remove(oldest)
            gone.append(oldest)
        return gone

    def remove(self, segment: Segment[Payload]) -> None:
        """Drop a segment that has no children."""
        assert segment.parent is not None and segment.is_leaf
        key = (segment.begin, int(segment.tokens[0]))
        siblings = segment.parent.children[key]
        siblings.remove(segment)
        if not siblings:
            del segment.parent.children[key]
        self.size -= segment.size
        self.count -= 1

    def __iter__(self) -> Iterator[tuple[Hashable, Segment[Payload]]]:
        """Every segment with its namespace, parents before children."""
        for namespace, root in self._roots.items():
            waiting = [child for group in root.children.values() for child in group]
            while waiting:
                segment = waiting.pop()
                yield namespace, segment
                waiting += [child for group in segment.children.values() for child in group]

    def _make_root(self, namespace: Hashable, tokens: Tokens) -> Segment[Payload]:
        """Namespaces of which nothing is left go: requests choose them, there is no end to them."""
        self._roots = {name: root for name, root in self._roots.items() if root.children}
        root = self._roots[namespace] = Segment(None, 0, tokens[:0].copy(), None)
        return root

    def _leaves(self) -> Iterator[Segment[Payload]]:
        return (segment for _, segment in self if segment.is_leaf)

    def _extend(self, match: Match[Payload], tokens: Tokens) -> Match[Payload] | None:
        """The best way on from a match, if there is one."""
        if match.length >= len(tokens):
            return None
        best = None
        for child in match.segment.children.get((match.length, int(tokens[match.length])), ()):
            length = match.length + common_length(child.tokens, tokens[match.length :])
            if self._whole and length < child.end:
                continue
            if best is None or length > best.length:
                best = Match(child, length)
        return best
