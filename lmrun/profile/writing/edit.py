"""One value of a YAML text, changed in place: comments, order and formatting stay as they are.

It edits text, not trees, and proves each edit by reading it again. It knows no field.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from lmrun.profile.text.nodes import Mapping, Node, Path, Scalar, format_path
from lmrun.profile.text.strict_yaml import parse_yaml
from lmrun.profile.writing.spans import Key, Span, read_spans
from lmrun.profile.writing.values import write_text, write_value

_BOM = "\ufeff"


class EditRefused(Exception):
    """The value cannot be written there without changing something else; the message says why."""


def set_value(text: str, path: Path, value: Any) -> str:
    """`text` with `value` at `path`, replaced where it is written, else added to its mapping; the
    index behind a list's last one adds to the list.

    Nothing else of the text changes, and nothing else of what it means. `text` is one that the
    strict loader takes. Raises EditRefused.
    """
    bom, text = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    root = parse_yaml(text, "").root
    if root is None:
        raise EditRefused("the file is not valid YAML")
    wanted = _fingerprint(_with_value(to_data(root), path, value))
    for candidate in _candidates(text, path, value):
        read = parse_yaml(candidate, "")
        if read.root and not read.problems and _fingerprint(to_data(read.root)) == wanted:
            return bom + candidate
    raise EditRefused(
        f"`{format_path(path)}` cannot be written without changing something else, "
        "as where an alias (`*…`) repeats it"
    )


def to_data(node: Node) -> Any:
    """A tree as dicts, lists and scalars; references stay as they are written."""
    if isinstance(node, Mapping):
        return {key: to_data(entry.node) for key, entry in node.entries.items()}
    return node.value if isinstance(node, Scalar) else [to_data(item) for item in node.items]


def _fingerprint(data: Any) -> str:
    """Equal for equal data only: in Python `True == 1 == 1.0`. The order of keys means nothing."""
    return json.dumps(data, sort_keys=True)


def _with_value(data: Any, path: Path, value: Any) -> Any:
    """A copy of `data` with the value; mappings on the way are made where there are none.

    Raises EditRefused where something else is in the way.
    """
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(first, str) and isinstance(data, dict):
        return {**data, first: _with_value(data.get(first, {}), rest, value)}
    if isinstance(data, list) and first == len(data) and not rest:
        return [*data, value]
    if isinstance(first, int) and isinstance(data, list) and 0 <= first < len(data):
        return [
            _with_value(item, rest, value) if index == first else item
            for index, item in enumerate(data)
        ]
    raise EditRefused(f"there is no place for `{format_path(path)}` in what is written there")


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a path is written: `span` is there, under `key` of its mapping; `rest` is missing."""

    span: Span
    key: Key | None
    rest: Path


def _candidates(text: str, path: Path, value: Any) -> Iterator[str]:
    """Texts that may be what is wanted, the best looking first."""
    try:
        place = _find(read_spans(text), path)
    except (yaml.YAMLError, ValueError):
        return
    if not place.rest:
        quoted = place.key is not None and place.key.is_quoted
        yield from _replacements(text, place, write_value(value, quoted=quoted))
    elif place.span.kind == "mapping":
        first, *more = place.rest
        for part in reversed(more):
            value = {part: value}
        yield from _insertions(text, place.span, str(first), value)
    elif place.span.kind == "sequence":
        yield _append(text, place.span, write_value(value))


def _find(span: Span, path: Path) -> _Place:
    key: Key | None = None
    for depth, part in enumerate(path):
        if isinstance(part, int) and span.kind == "sequence" and part < len(span.items):
            key, span = None, span.items[part]
        elif isinstance(part, str) and part in span.entries:
            key, span = span.entries[part]
        else:
            return _Place(span, key, path[depth:])
    return _Place(span, key, ())


def _replacements(text: str, place: _Place, written: str) -> Iterator[str]:
    span, key = place.span, place.key
    if span.is_block and key is not None and "\n" in text[key.end : span.start]:
        yield _replace_block(text, key, span, written)
    before, after = text[: span.start], text[span.end :]
    if span.start == span.end:
        # An empty value; its `:` may be missing, too.
        yield from (f"{before}{gap}{written}{after}" for gap in (" ", ": "))
    yield before + written + after


def _replace_block(text: str, key: Key, span: Span, written: str) -> str:
    """The value moves behind its key's colon; what stands between the two stays."""
    colon = text.index(":", key.end) + 1
    start = text.rindex("\n", 0, span.start) + 1
    line_end = _line_end(text, span.end)
    is_alone = not text[span.end : line_end].strip()
    end = line_end + 1 if is_alone else span.end
    return f"{text[:colon]} {written}{text[colon:start]}{text[end:]}"


def _insertions(text: str, mapping: Span, name: str, value: Any) -> Iterator[str]:
    quoted = any(key.is_quoted for key, _ in mapping.entries.values())
    entry = f"{write_text(name, quoted=quoted)}: {write_value(value, quoted=quoted)}"
    if not mapping.entries:
        inside = text.index("{", mapping.start) + 1
        yield text[:inside] + entry + text[inside:]
        return
    first = min(key.start for key, _ in mapping.entries.values())
    last = max(max(key.end, span.end) for key, span in mapping.entries.values())
    if not mapping.is_block:
        yield f"{text[:last]}, {entry}{text[last:]}"
        yield f"{text[:first]}{entry}, {text[first:]}"
        return
    newline, indent = _newline(text), _indent(text, first)
    end = _line_end(text, last)
    yield f"{text[:end]}{newline}{indent}{entry}{text[end:]}"
    yield f"{text[:first]}{entry}{newline}{indent}{text[first:]}"


def _append(text: str, sequence: Span, written: str) -> str:
    if not sequence.items:
        inside = text.index("[", sequence.start) + 1
        return text[:inside] + written + text[inside:]
    last = sequence.items[-1].end
    if not sequence.is_block:
        return f"{text[:last]}, {written}{text[last:]}"
    dash = text.rindex("-", 0, sequence.items[0].start)
    end = _line_end(text, last)
    return f"{text[:end]}{_newline(text)}{_indent(text, dash)}- {written}{text[end:]}"


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent(text: str, index: int) -> str:
    """As many spaces as put something below what is at `index`."""
    return " " * (index - text.rfind("\n", 0, index) - 1)


def _line_end(text: str, index: int) -> int:
    """Where the line of `index` ends, before its line break."""
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if text[index:end].endswith("\r") else end
