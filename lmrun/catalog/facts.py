"""What an estimate of a load is made of, read once for each state that a file is seen in.

A vocabulary makes a header slow to read, and a plan needs that of every model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.catalog.gguf import find_parts
from lmrun.catalog.gguf_header import GgufHeader, describe
from lmrun.catalog.gguf_reader import open_window, parse_container
from lmrun.catalog.memory import Sizes, read_sizes
from lmrun.errors import ModelInvalid

MOST_KEPT = 4096

_State = tuple[int, int, int, int]
_Key = tuple[_State, Path | None, int | None]


@dataclass(frozen=True, slots=True)
class LoadFacts:
    """`weights`: bytes of all parts."""

    header: GgufHeader
    sizes: Sizes
    weights: int


@dataclass(slots=True)
class FactBook:
    """Callable from any thread. Files are told apart by what the system calls them, so that links
    share what was read; a model of several parts by its path, too, beside which they lie."""

    _known: dict[_Key, tuple[tuple[Path, ...], LoadFacts]] = field(default_factory=dict)

    def read(self, path: Path, num_experts: int | None) -> LoadFacts:
        """`num_experts`: those that work on a token, None for as many as the file says. Raises
        ModelInvalid."""
        state = _look(path)
        if state is None:
            return _read_facts(path, num_experts)[1]
        for place in (None, path):
            known = self._known.get((state, place, num_experts))
            if known is not None and (place is None or _weigh(known[0]) == known[1].weights):
                return known[1]
        parts, facts = _read_facts(path, num_experts)
        self._keep((state, None if len(parts) == 1 else path, num_experts), parts, facts)
        return facts

    def _keep(self, key: _Key, parts: tuple[Path, ...], facts: LoadFacts) -> None:
        while len(self._known) >= MOST_KEPT:
            # The oldest first: an update of a file leaves its former state behind.
            self._known.pop(next(iter(self._known)), None)
        self._known[key] = parts, facts


def read_size(path: Path) -> int:
    """Bytes; none of a file that has gone since it was located: whoever loads it will say so."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _look(path: Path) -> _State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read_facts(path: Path, num_experts: int | None) -> tuple[tuple[Path, ...], LoadFacts]:
    with open_window(path) as window:
        raw = parse_container(window)
        header = describe(raw)
    parts = tuple(find_parts(path, header))
    tensors = [*raw.tensors]
    for part in parts[1:]:
        with suppress(ModelInvalid), open_window(part) as window:
            # A part that is missing or broken is said so by whoever loads it.
            tensors += parse_container(window).tensors
    sizes = read_sizes(raw, tensors, num_experts or header.expert_used_count)
    return parts, LoadFacts(header, sizes, _weigh(parts))


def _weigh(parts: Iterable[Path]) -> int:
    return sum(map(read_size, parts))
