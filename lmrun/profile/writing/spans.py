"""Where each value of a YAML text is written: the extents that an edit replaces or extends.

It knows no field, and of a value no more than its place: what it means is read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import yaml

Kind = Literal["scalar", "alias", "mapping", "sequence"]


@dataclass(slots=True)
class Span:
    """A written value: the text from `start` to `end`, as indexes of characters.

    `end` is behind its last visible character: comments and blank lines that follow are not its.
    `is_block`: a mapping or list without brackets. `items`: a list's values; `entries`: a
    mapping's keys, by their text, each with its value.
    """

    kind: Kind
    start: int
    end: int
    is_block: bool = False
    items: list[Span] = field(default_factory=list)
    entries: dict[str, tuple[Key, Span]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Key:
    """A written key. `is_quoted`: in double quotes, as in JSON."""

    start: int
    end: int
    is_quoted: bool


def read_spans(text: str) -> Span:
    """The document's value. Raises yaml.YAMLError for what is no YAML, ValueError for no value.

    Meant for texts that the strict loader has taken: limits of size and depth are its.
    """
    events = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            return _read_node(event, events, text)
    raise ValueError("there is no value in this text")


def _read_node(event: yaml.Event, events: Iterator[yaml.Event], text: str) -> Span:
    start, end = _extent(event)
    if isinstance(event, yaml.ScalarEvent):
        # A block scalar's mark includes the blank lines behind it.
        written = text[start:end].rstrip() if event.style in ("|", ">") else text[start:end]
        return Span("scalar", start, start + len(written))
    if isinstance(event, yaml.AliasEvent):
        return Span("alias", start, end)
    assert isinstance(event, yaml.CollectionStartEvent), "the parser gives no other node"
    kind: Kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
    span = Span(kind, start, end, is_block=not event.flow_style)
    nodes: list[tuple[yaml.Event, Span]] = []
    for inner in events:
        if isinstance(inner, yaml.CollectionEndEvent):
            break
        nodes.append((inner, _read_node(inner, events, text)))
    # The mark of a block's end is where the next thing begins.
    span.end = max(it.end for _, it in nodes) if span.is_block else _extent(inner)[1]
    if kind == "sequence":
        span.items = [item for _, item in nodes]
    else:
        pairs = zip(nodes[::2], nodes[1::2], strict=True)
        span.entries = dict(_read_entry(*key, value) for key, (_, value) in pairs)
    return span


def _read_entry(event: yaml.Event, key: Span, value: Span) -> tuple[str, tuple[Key, Span]]:
    name, style = (event.value, event.style) if isinstance(event, yaml.ScalarEvent) else ("", None)
    return name, (Key(key.start, key.end, is_quoted=style == '"'), value)


def _extent(event: yaml.Event) -> tuple[int, int]:
    assert event.start_mark is not None and event.end_mark is not None, "libyaml marks every event"
    return event.start_mark.index, event.end_mark.index
