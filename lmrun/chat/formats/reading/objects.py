"""Calls that are JSON objects: `{"name": …, "arguments": {…}}`, alone or in an array.

The order of the members does not matter; members that say nothing about the call are passed over.
It knows no markup around them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from lmrun.chat.formats.base import CallArguments
from lmrun.chat.formats.reading.feed import Feed, Malformed, Steps
from lmrun.chat.formats.reading.json_text import JsonScanner
from lmrun.chat.formats.reading.values import is_json, mend


@dataclass(frozen=True, slots=True)
class Members:
    """What a format calls the parts of a call. `known`: only these names make a call, where an
    object like this is often something else; None: any name does. `begins_late`: for the same
    reason a call begins with its arguments, not with its name, and without any there is none."""

    name: tuple[str, ...] = ("name",)
    arguments: tuple[str, ...] = ("arguments", "parameters")
    id: tuple[str, ...] = ("id",)
    known: Collection[str] | None = None
    begins_late: bool = False

    @property
    def needs_arguments(self) -> bool:
        return self.begins_late or self.known is not None


STANDARD = Members()


@dataclass(slots=True)
class _Call:
    name: str | None = None
    id: str | None = None
    has_begun: bool = False
    has_arguments: bool = False
    early: str = ""
    """Arguments that came before the name."""


def read_call_objects(feed: Feed, members: Members = STANDARD) -> Steps[None]:
    """One call, or an array of calls. Raises Malformed, Ended."""
    yield from feed.skip_space()
    if (yield from feed.peek()) == "[":
        yield from read_array(feed, members)
    else:
        yield from read_call_object(feed, members)


def read_array(feed: Feed, members: Members) -> Steps[None]:
    """An array of one call or more. Raises Malformed, Ended."""
    yield from feed.expect("[")
    separator = ","
    while separator == ",":
        yield from feed.skip_space()
        yield from read_call_object(feed, members)
        yield from feed.skip_space()
        separator = yield from feed.expect(",", "]")
        feed.settle()


def read_call_object(feed: Feed, members: Members) -> Steps[None]:
    """One call. Raises Malformed, Ended."""
    call = _Call()
    yield from feed.expect("{")
    separator = ","
    while separator == ",":
        yield from feed.skip_space()
        key = yield from read_string(feed)
        yield from feed.skip_space()
        yield from feed.expect(":")
        yield from feed.skip_space()
        yield from _read_member(feed, members, key, call)
        yield from feed.skip_space()
        separator = yield from feed.expect(",", "}")
    if call.name is None or (members.needs_arguments and not call.has_arguments):
        raise Malformed
    yield from _begin(feed, call)
    if not call.has_arguments or call.early:
        yield CallArguments(call.early or "{}")
    yield from feed.end_call()


def _read_member(feed: Feed, members: Members, key: str, call: _Call) -> Steps[None]:
    if key in members.name and call.name is None:
        call.name = yield from read_string(feed)
        if members.known is not None and call.name not in members.known:
            raise Malformed
        if not members.begins_late:
            yield from _begin(feed, call)
    elif key in members.id:
        written = yield from read_value(feed)
        call.id = decode(written) or written
    elif key in members.arguments and not call.has_arguments:
        call.has_arguments = True
        yield from _read_arguments(feed, call)
    else:
        yield from read_value(feed)


def _begin(feed: Feed, call: _Call) -> Steps[None]:
    """The call begins, if its name is known and it has not begun."""
    if call.name is not None and not call.has_begun:
        call.has_begun = True
        yield from feed.start_call(call.name, call.id)


def _read_arguments(feed: Feed, call: _Call) -> Steps[None]:
    """An object, as it comes; or a string that holds one; or null, which is none."""
    if (yield from feed.peek()) not in '{"n':
        raise Malformed
    yield from _begin(feed, call)
    if call.has_begun and feed.text.startswith("{"):
        yield from give_object(feed)
        return
    written = yield from read_value(feed)
    arguments = {"n": "{}", '"': decode(written)}.get(written[0], written)
    if not arguments.lstrip().startswith("{") or not is_json(arguments):
        raise Malformed
    if call.name is None:
        call.early = arguments
    else:
        yield CallArguments(arguments)


def give_object(feed: Feed) -> Steps[None]:
    """A JSON object that is a call's arguments, in pieces as it comes. Raises Malformed, Ended."""
    if (yield from feed.peek()) != "{":
        raise Malformed
    scanner = JsonScanner()
    while scanner.state == "open":
        piece = feed.take(scanner.push(feed.text))
        if piece:
            yield CallArguments(piece)
        if scanner.state == "open":
            yield from feed.more()
    if scanner.state == "broken":
        raise Malformed


def read_string(feed: Feed) -> Steps[str]:
    """What a JSON string says. Raises Malformed, Ended."""
    if (yield from feed.peek()) != '"':
        raise Malformed
    return decode((yield from read_value(feed)))


def read_value(feed: Feed) -> Steps[str]:
    """The text of any JSON value. Raises Malformed, Ended."""
    scanner = JsonScanner()
    parts: list[str] = []
    while scanner.state == "open":
        parts.append(feed.take(scanner.push(feed.text)))
        if scanner.state == "open":
            yield from feed.more()
    if scanner.state == "broken":
        raise Malformed
    return "".join(parts)


def decode(written: str) -> str:
    """What a JSON string says, "" for any other value."""
    return mend(json.loads(written)) if written.startswith('"') else ""
