"""Strict YAML: text → a tree with positions, every problem at once. It knows no field.

The events of libyaml are read one by one, so that depth, aliases and size are refused before
anything is built from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from lmrun.errors import Problem
from lmrun.profile.text.nodes import (
    Entry,
    Mapping,
    Node,
    Position,
    Scalar,
    ScalarValue,
    Sequence,
    describe,
    format_key,
)
from lmrun.profile.text.scalars import parse_scalar
from lmrun.profile.text.syntax_errors import explain

MAX_DEPTH = 50
MAX_ALIASES = 50
MAX_VALUES = 25_000
"""Values in one file, each alias counted as all that it stands for."""

# NUL, controls, surrogates, the byte order mark, and what YAML 1.1 alone takes for a line's end.
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
)


_NO_LIBYAML = (
    "cannot be read: this PyYAML was built without libyaml; "
    "install its wheel: pip install --force-reinstall --only-binary :all: pyyaml"
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """`root` is None when the text has no usable tree."""

    root: Mapping | None
    problems: tuple[Problem, ...]


def parse_yaml(text: str, file: str, needs: str = "a profile needs `version: 1`") -> Parsed:
    """One strict YAML document whose top level is a mapping; never raises for bad text. `needs`:
    what to tell whoever gives an empty one."""
    text = text.removeprefix("\ufeff")
    if bad := FORBIDDEN.search(text):
        return Parsed(None, (_forbidden_character(text, bad.start(), file),))
    if not yaml.__with_libyaml__:
        return Parsed(None, (Problem(file, 0, 0, "", _NO_LIBYAML),))
    builder = _TreeBuilder(file, needs)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except _Stop:
        return Parsed(None, tuple(builder.problems))
    except yaml.MarkedYAMLError as error:
        message, line, column = explain(error, text, MAX_DEPTH)
        builder.problems.append(Problem(file, line, column, "", message))
        return Parsed(None, tuple(builder.problems))
    return builder.finish()


def _forbidden_character(text: str, index: int, file: str) -> Problem:
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    message = (
        f"the character U+{ord(text[index]):04X} is not allowed; "
        'remove it, or write it as an escape in "…"'
    )
    return Problem(file, line, column, "", message)


class _Stop(Exception):
    """Going on would cost too much or mean nothing; the problem is already noted."""


@dataclass(slots=True)
class _Frame:
    """A collection that is still open."""

    position: Position
    anchor: str | None
    is_mapping: bool
    nodes: list[Node] = field(default_factory=list)
    size: int = 1


class _TreeBuilder:
    """Takes events in order; `problems` grows, `finish` gives the tree."""

    def __init__(self, file: str, needs: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._needs = needs
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._aliases = 0
        self._root: Node | None = None
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Raises _Stop when the rest must not be read."""
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._take_alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._start_document(event)

    def finish(self) -> Parsed:
        root = self._root
        if root is None or (isinstance(root, Scalar) and root.value is None):
            self._note(Position(self._file, 1, 1), f"the file is empty; {self._needs}")
        elif not isinstance(root, Mapping):
            self._note(
                root.position, f"the file must be a mapping (`key: value`), not {describe(root)}"
            )
        return Parsed(root if isinstance(root, Mapping) else None, tuple(self.problems))

    def _start_document(self, event: yaml.DocumentStartEvent) -> None:
        self._documents += 1
        position = self._position(event)
        if self._documents > 1:
            self._stop(position, "only one document is allowed; remove the second `---`")
        if event.version or event.tags:
            self._note(position, "directives (`%…`) are not allowed")

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        position = self._position(event)
        self._refuse_tag(event, position)
        if "\0" in event.value:
            self._note(position, "the character U+0000 is not allowed, as an escape neither")
        is_plain = not event.style
        value: ScalarValue = event.value
        if is_plain:
            try:
                value = parse_scalar(event.value)
            except ValueError as error:
                self._note(position, str(error))
        self._add(Scalar(value, is_plain, position), event.anchor, 1, position)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        position = self._position(event)
        self._refuse_tag(event, position)
        if len(self._stack) >= MAX_DEPTH:
            self._stop(position, f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor:
            # Only a complete value can be repeated: an alias inside it would be endless.
            self._anchors.pop(event.anchor, None)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._stack.append(_Frame(position, event.anchor, is_mapping))

    def _close(self) -> None:
        frame = self._stack.pop()
        node: Node
        if frame.is_mapping:
            node = Mapping(self._to_entries(frame.nodes), frame.position)
        else:
            node = Sequence(tuple(frame.nodes), frame.position)
        self._add(node, frame.anchor, frame.size, frame.position)

    def _take_alias(self, event: yaml.AliasEvent) -> None:
        position, name = self._position(event), str(event.anchor)
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._stop(position, f"more than {MAX_ALIASES} aliases")
        if any(frame.anchor == name for frame in self._stack):
            self._stop(position, f"the alias `*{format_key(name)}` stands inside its own anchor")
        if name not in self._anchors:
            self._stop(position, f"no anchor `&{format_key(name)}` stands above this alias")
        node, size = self._anchors[name]
        self._add(node, None, size, position)

    def _add(self, node: Node, anchor: str | None, size: int, at: Position) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)
        if not self._stack:
            self._root = node
            return
        frame = self._stack[-1]
        frame.nodes.append(node)
        frame.size += size
        if frame.size > MAX_VALUES:
            self._stop(at, f"more than {MAX_VALUES} values, aliases counted in full")

    def _to_entries(self, nodes: list[Node]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for key, value in zip(nodes[::2], nodes[1::2], strict=True):
            name = self._to_key(key)
            if name is None:
                continue
            if name in entries:
                first = entries[name].key.line
                self._note(
                    key.position,
                    f"the key `{format_key(name)}` is already on line {first}; keep one of them",
                )
            else:
                entries[name] = Entry(key.position, value)
        return entries

    def _to_key(self, node: Node) -> str | None:
        """The key's text, or None when it is refused."""
        if not isinstance(node, Scalar):
            self._note(node.position, f"a key must be text, not {describe(node)}")
        elif not isinstance(node.value, str):
            kind = describe(node)
            self._note(node.position, f"a key must be text, but this is {kind}; put it in quotes")
        elif node.value == "<<" and node.is_plain:
            self._note(node.position, "merge keys (`<<`) are not allowed; use `include` or repeat")
        else:
            return node.value
        return None

    def _refuse_tag(
        self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, position: Position
    ) -> None:
        if event.tag is not None:
            self._note(position, "tags (`!…`) are not allowed; remove it")

    def _position(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        assert mark is not None, "libyaml marks every event"
        return Position(self._file, mark.line + 1, mark.column + 1)

    def _note(self, position: Position, message: str) -> None:
        self.problems.append(Problem(*position, "", message))

    def _stop(self, position: Position, message: str) -> None:
        self._note(position, message)
        raise _Stop
