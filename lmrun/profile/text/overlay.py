"""Profiles laid over each other: a file and its includes → one tree. It knows `include` and
`version`, and no other field.

Mappings merge deep, everything else replaces; every value keeps the position it came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.errors import Problem
from lmrun.profile.text.files import ReadText, Unreadable, explain
from lmrun.profile.text.nodes import Entry, Mapping, Node, Position, Scalar, Sequence
from lmrun.profile.text.strict_yaml import parse_yaml

MAX_FILES = 20


@dataclass(frozen=True, slots=True)
class Overlaid:
    """The merged tree and what was read for it.

    `yaml_problems` make the tree meaningless; `include_problems` leave holes in it.
    """

    root: Mapping | None
    texts: dict[Path, str]
    yaml_problems: tuple[Problem, ...]
    include_problems: tuple[Problem, ...]


def read_overlaid(path: Path, read: ReadText) -> Overlaid:
    """The file at `path` (absolute) over its includes; never raises for bad files."""
    files = _Files(read)
    root = files.load(path, (path,), None)
    if root and files.include_problems:
        # What is wrong with the list is said already.
        root = _without(root, ("include",))
    return Overlaid(root, files.texts, tuple(files.yaml_problems), tuple(files.include_problems))


def merge(below: Mapping, above: Mapping) -> Mapping:
    """`above` over `below`: mappings deep, anything else replaced."""
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        lower = entries.get(key)
        if lower and isinstance(lower.node, Mapping) and isinstance(entry.node, Mapping):
            entries[key] = Entry(entry.key, merge(lower.node, entry.node))
        else:
            entries[key] = entry
    return Mapping(entries, above.position)


@dataclass(slots=True)
class _Files:
    """Loads each file once, however often it is included."""

    read: ReadText
    texts: dict[Path, str] = field(default_factory=dict)
    yaml_problems: list[Problem] = field(default_factory=list)
    include_problems: list[Problem] = field(default_factory=list)
    _loaded: dict[Path, Mapping | None] = field(default_factory=dict)

    def load(self, path: Path, chain: tuple[Path, ...], at: Position | None) -> Mapping | None:
        """The merged tree of one file. `at`: the include entry that asked; None for the root."""
        if path not in self._loaded:
            self._loaded[path] = None
            own = self._parse(path, at)
            self._loaded[path] = self._lay_over_includes(own, chain) if own else None
        return self._loaded[path]

    def _parse(self, path: Path, at: Position | None) -> Mapping | None:
        try:
            text = self.read(path)
        except (OSError, Unreadable) as error:
            self._note_unreadable(path, at, error)
            return None
        self.texts[path] = text
        parsed = parse_yaml(text, str(path))
        self.yaml_problems += parsed.problems
        return parsed.root

    def _note_unreadable(
        self, path: Path, at: Position | None, error: OSError | Unreadable
    ) -> None:
        reason = explain(error)
        if at is None or (isinstance(error, Unreadable) and error.line):
            line, column = getattr(error, "line", 0), getattr(error, "column", 0)
            self.yaml_problems.append(Problem(str(path), line, column, "", reason))
        else:
            self._note(at, f"{path}: {reason}")

    def _lay_over_includes(self, own: Mapping, chain: tuple[Path, ...]) -> Mapping:
        base: Mapping | None = None
        for entry in self._include_entries(own):
            included = self._load_include(entry, chain)
            if included is not None:
                base = included if base is None else merge(base, included)
        if len(chain) > 1:
            self._check_version(own)
            own = _without(own, ("version", "include"))
        return own if base is None else merge(base, own)

    def _load_include(self, entry: Scalar, chain: tuple[Path, ...]) -> Mapping | None:
        path = Path(os.path.normpath(chain[-1].parent / str(entry.value)))
        way = (*chain, path)
        if path in chain:
            self._note(entry.position, f"this file includes itself: {_show(way)}")
        elif path not in self._loaded and len(self._loaded) >= MAX_FILES:
            self._note(entry.position, f"more than {MAX_FILES} files: {_show(way)}")
        else:
            return self.load(path, way, entry.position)
        return None

    def _include_entries(self, own: Mapping) -> Iterable[Scalar]:
        include = own.entries.get("include")
        if include is None:
            return
        if not isinstance(include.node, Sequence):
            self._note(include.node.position, "must be a list of files, like `[base.yaml]`")
            return
        for node in include.node.items:
            if refusal := _refuse_entry(node):
                self._note(node.position, refusal)
            elif isinstance(node, Scalar):
                yield node

    def _check_version(self, own: Mapping) -> None:
        version = own.entries.get("version")
        if version is None:
            return
        node = version.node
        if not (isinstance(node, Scalar) and type(node.value) is int and node.value == 1):
            problem = Problem(*node.position, "version", "must be 1, as in the including file")
            self.include_problems.append(problem)

    def _note(self, at: Position, message: str) -> None:
        self.include_problems.append(Problem(*at, "include", message))


def _refuse_entry(node: Node) -> str | None:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return "must be the name of a file"
    if not node.value or not node.value.isprintable():
        return "must be the name of a file"
    if "${" in node.value:
        # Which variables a profile needs must be known before any of them has a value.
        return "references are not allowed in `include`; name the file itself"
    return None


def _without(mapping: Mapping, keys: tuple[str, ...]) -> Mapping:
    kept = {key: entry for key, entry in mapping.entries.items() if key not in keys}
    return Mapping(kept, mapping.position)


def _show(chain: tuple[Path, ...]) -> str:
    return " → ".join(path.name for path in chain)
