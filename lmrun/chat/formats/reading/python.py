"""Calls as Python writes them: `get_weather(city="Paris", days=3)`.

Values are Python's literals, or JSON's words for them; each is given as JSON when it is complete.
Nothing is evaluated. It knows no markup around calls.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from lmrun.chat.formats.base import CallArguments
from lmrun.chat.formats.reading.feed import Feed, Malformed, Steps
from lmrun.chat.formats.reading.json_text import MAX_DEPTH
from lmrun.chat.formats.reading.objects import Members, read_call_object
from lmrun.chat.formats.reading.values import is_json, list_arguments, mend, quote
from lmrun.chat.messages import Tool

_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_WORD = re.compile(r"[\w.+\-]+")
_WORDS = {
    "True": "true",
    "False": "false",
    "None": "null",
    "true": "true",
    "false": "false",
    "null": "null",
}
_PLAIN = re.compile(r"[^\\'\"]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_ESCAPES |= {"\\": "\\", "'": "'", '"': '"', "0": "\0", "a": "\a", "v": "\v", "/": "/"}
_CODES = {"x": re.compile(r"[0-9A-Fa-f]{2}"), "u": re.compile(r"[0-9A-Fa-f]{4}")}
_CODES["U"] = re.compile(r"[0-9A-Fa-f]{8}")


def read_call_list(
    feed: Feed, tools: Sequence[Tool], known: Collection[str] | None = None
) -> Steps[None]:
    """`[f(…), g(…)]`: calls in brackets, one or more; an object may stand for a call. `known`: only
    these names make a call; None: any does. Raises Malformed, Ended."""
    yield from feed.skip_space()
    yield from feed.expect("[")
    separator = ","
    while separator == ",":
        yield from feed.skip_space()
        if (yield from feed.peek()) == "{":
            yield from read_call_object(feed, Members(known=known))
        else:
            yield from read_python_call(feed, tools, known)
        yield from feed.skip_space()
        separator = yield from feed.expect(",", "]")
        feed.settle()


def read_python_call(
    feed: Feed,
    tools: Sequence[Tool],
    known: Collection[str] | None = None,
    prefix: str = "",
    suffix: str = "",
) -> Steps[None]:
    """One call; `prefix` may stand before its name, `suffix` stands behind it. Arguments without a
    name take those of the tool's schema, in its order. Raises Malformed, Ended."""
    yield from feed.skip_space()
    name = (yield from feed.matching(_NAME)).removeprefix(prefix)
    if not name.endswith(suffix):
        raise Malformed
    name = name.removesuffix(suffix)
    yield from feed.expect("(")
    if known is not None and name not in known:
        raise Malformed
    yield from feed.start_call(name)
    yield CallArguments("{")
    names, separator = list_arguments(tools, name), ""
    yield from feed.skip_space()
    while not (yield from feed.literal(")")):
        key, value = yield from _read_argument(feed)
        if not key:
            if not names:
                raise Malformed
            key = names[0]
        if key in names:
            names.remove(key)
        yield CallArguments(f"{separator}{quote(key)}: {value}")
        separator = ", "
        yield from feed.skip_space()
        if not (yield from feed.literal(",")) and (yield from feed.peek()) != ")":
            raise Malformed
        yield from feed.skip_space()
    yield CallArguments("}")
    yield from feed.end_call()


def _read_argument(feed: Feed) -> Steps[tuple[str, str]]:
    """The name, "" without one, and the value as JSON."""
    word = ""
    if re.match(r"[A-Za-z_]", (yield from feed.peek())):
        word = yield from feed.matching(_NAME)
        yield from feed.skip_space()
        if not (yield from feed.literal("=")):
            if word not in _WORDS:
                raise Malformed
            return "", _WORDS[word]
        yield from feed.skip_space()
    return word, (yield from _read_value(feed, 0))


def _read_value(feed: Feed, depth: int) -> Steps[str]:
    begin = yield from feed.peek()
    if depth > MAX_DEPTH:
        raise Malformed
    if begin in "'\"":
        return quote((yield from read_python_string(feed)))
    if begin in "[(":
        return (yield from _read_items(feed, depth + 1))
    if begin == "{":
        return (yield from _read_pairs(feed, depth + 1))
    word = yield from feed.matching(_WORD)
    value = _WORDS.get(word, word.replace("_", "").removeprefix("+"))
    if not value or not is_json(value):
        raise Malformed
    return value


def _read_items(feed: Feed, depth: int) -> Steps[str]:
    end = {"[": "]", "(": ")"}[(yield from feed.expect("[", "("))]
    items: list[str] = []
    yield from feed.skip_space()
    while not (yield from feed.literal(end)):
        items.append((yield from _read_value(feed, depth)))
        yield from _read_separator(feed, end)
    return f"[{', '.join(items)}]"


def _read_pairs(feed: Feed, depth: int) -> Steps[str]:
    yield from feed.expect("{")
    pairs: list[str] = []
    yield from feed.skip_space()
    while not (yield from feed.literal("}")):
        key = yield from _read_value(feed, depth)
        yield from feed.skip_space()
        yield from feed.expect(":")
        yield from feed.skip_space()
        value = yield from _read_value(feed, depth)
        pairs.append(f"{key if key.startswith(chr(34)) else quote(key)}: {value}")
        yield from _read_separator(feed, "}")
    return f"{{{', '.join(pairs)}}}"


def _read_separator(feed: Feed, end: str) -> Steps[None]:
    yield from feed.skip_space()
    if not (yield from feed.literal(",")) and (yield from feed.peek()) != end:
        raise Malformed
    yield from feed.skip_space()


def read_python_string(feed: Feed) -> Steps[str]:
    """What a string literal says, with one quote or three. Raises Malformed, Ended."""
    end = yield from feed.expect("'", '"', "'" * 3, '"' * 3)
    parts: list[str] = []
    while not (yield from feed.literal(end)):
        plain = _PLAIN.match(feed.text)
        if plain:
            parts.append(feed.take(plain.end()))
            continue
        character = yield from feed.peek()
        if character == "\\":
            parts.append((yield from _read_escape(feed)))
        else:
            parts.append(feed.take(1))
    return mend("".join(parts))


def _read_escape(feed: Feed) -> Steps[str]:
    feed.take(1)
    kind = yield from feed.peek()
    feed.take(1)
    if kind not in _CODES:
        return _ESCAPES.get(kind, "\\" + kind)
    length = {"x": 2, "u": 4, "U": 8}[kind]
    while len(feed.text) < length:
        yield from feed.more()
    if not _CODES[kind].match(feed.text):
        raise Malformed
    code = int(feed.take(length), 16)
    if code > 0x10FFFF:
        raise Malformed
    return chr(code)
