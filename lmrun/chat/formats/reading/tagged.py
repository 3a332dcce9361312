"""Calls whose arguments stand one by one between tags, such as `<arg_key>…</arg_key>`.

Values are plain text; what JSON they stand for is read from the tool's schema, or from the tag
itself. Text arguments are given as they come. It knows no single format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lmrun.chat.formats.base import CallArguments
from lmrun.chat.formats.reading.feed import Feed, Malformed, Steps
from lmrun.chat.formats.reading.json_text import JsonScanner
from lmrun.chat.formats.reading.values import (
    escape,
    find_schema,
    find_types,
    is_json,
    is_text,
    quote,
    to_json,
)
from lmrun.chat.messages import Tool

Kind = Literal["by schema", "text", "json"]


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of one format.

    `key`: what opens an argument's name. `key_ends`: what may close it, and what each says of the
    value. `value`: what opens the value, where that is a tag of its own; `leading`: what may stand
    before it and is no part of it. `value_ends`: what may close it, with white space that belongs
    to the tag. `quotes`: pairs that may stand around a value and are no part of it.
    """

    key: str
    key_ends: dict[str, Kind]
    value_ends: tuple[str, ...]
    value: str = ""
    leading: tuple[str, ...] = ()
    quotes: dict[str, str] = field(default_factory=dict)


def read_tagged_call(
    feed: Feed, tools: Sequence[Tool], name: str, tags: Tags, ends: tuple[str, ...]
) -> Steps[None]:
    """The call of `name` after its opening tag, up to one of `ends`. Raises Malformed, Ended."""
    yield from feed.start_call(name)
    yield CallArguments("{")
    separator = ""
    while True:
        yield from feed.skip_space()
        if (yield from feed.expect(tags.key, *ends)) != tags.key:
            break
        key, key_end = yield from feed.until(*tags.key_ends)
        yield CallArguments(f"{separator}{quote(key.strip())}: ")
        yield from _read_value(feed, tools, (name, key.strip()), tags, tags.key_ends[key_end])
        separator = ", "
    yield CallArguments("}")
    yield from feed.end_call()


def _read_value(
    feed: Feed, tools: Sequence[Tool], owner: tuple[str, str], tags: Tags, kind: Kind
) -> Steps[None]:
    if tags.value:
        yield from feed.skip_space()
        yield from feed.expect(tags.value)
    if tags.leading:
        yield from feed.literal(*tags.leading)
    ends = tags.value_ends
    if tags.quotes and (opening := (yield from feed.literal(*tags.quotes))):
        ends = tuple(tags.quotes[opening] + end for end in ends)
    schema = find_schema(tools, *owner)
    if kind == "text" or (kind == "by schema" and is_text(schema)):
        yield from _give_text(feed, ends)
        return
    may_hold_ends = kind == "json" or "string" not in find_types(schema)
    text = yield from _collect(feed, ends, may_hold_ends)
    if kind == "json":
        if not is_json(text):
            raise Malformed
        yield CallArguments(text.strip())
    else:
        yield CallArguments(to_json(text, schema))


def _give_text(feed: Feed, ends: tuple[str, ...]) -> Steps[None]:
    yield CallArguments('"')
    for chunk in feed.chunks(*ends):
        yield None if chunk is None else CallArguments(escape(chunk))
    yield CallArguments('"')


def _collect(feed: Feed, ends: tuple[str, ...], may_hold_ends: bool) -> Steps[str]:
    """A value up to what closes it. `may_hold_ends`: inside of brackets that is part of it."""
    text, end = yield from feed.collect(*ends)
    if not may_hold_ends or not text.lstrip().startswith(("{", "[")):
        return text
    scanner, parts = JsonScanner(), [text]
    while scanner.push(parts[-1]) == len(parts[-1]) and scanner.state == "open":
        more, next_end = yield from feed.collect(*ends)
        parts.append(end + more)
        end = next_end
    return "".join(parts)
