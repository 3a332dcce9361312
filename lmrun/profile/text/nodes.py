"""A YAML document as a tree that remembers where everything stands. It knows no field."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NamedTuple

ScalarValue = str | int | float | bool | None
Path = tuple[str | int, ...]
"""Where a value is in the document: keys and list indexes from the top."""

_SIMPLE_KEY = re.compile(r"[\w@:/-][\w.@:/-]*")
_SHOWN = 64
# In this order: a boolean is an integer, too.
_KINDS = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (dict, "a mapping"),
    (list, "a list"),
)


class Position(NamedTuple):
    """A place in a file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, number, boolean or null. `is_plain`: written without quotes."""

    value: ScalarValue
    is_plain: bool
    position: Position


@dataclass(frozen=True, slots=True)
class Entry:
    """A mapping's value and the position of its key."""

    key: Position
    node: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: dict[str, Entry]
    position: Position


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    position: Position


Node = Scalar | Mapping | Sequence


def describe(node: Node) -> str:
    """What kind of value it is, in plain words; never the value itself."""
    if isinstance(node, Mapping):
        return "a mapping"
    return "a list" if isinstance(node, Sequence) else describe_value(node.value)


def describe_value(value: object) -> str:
    """The same for plain data."""
    if value is None:
        return "empty"
    for kind, words in _KINDS:
        if isinstance(value, kind):
            return words
    return "something else"


def format_key(key: str) -> str:
    """The key as a message shows it: on one line, and short."""
    shown = key if len(key) <= _SHOWN else key[:_SHOWN] + "…"
    return shown if shown.isprintable() else json.dumps(shown)[1:-1]


def format_path(path: Path) -> str:
    """`("server", "api_keys", 0, "key")` → `server.api_keys[0].key`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _SIMPLE_KEY.fullmatch(part) and len(part) <= _SHOWN:
            text += f".{part}" if text else part
        else:
            text += f'["{format_key(part)}"]'
    return text
