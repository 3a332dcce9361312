"""Arguments as Gemma writes them: `{city:<escape>Paris<escape>,days:3}`, where keys have no quotes
and a mark of the model's own stands on both sides of a text. JSON is read, too.

It knows no markup around calls.
"""

from __future__ import annotations

import re

from lmrun.chat.formats.base import CallArguments
from lmrun.chat.formats.reading.feed import Feed, Malformed, Steps
from lmrun.chat.formats.reading.json_text import MAX_DEPTH
from lmrun.chat.formats.reading.objects import read_string, read_value
from lmrun.chat.formats.reading.values import escape, is_json, quote

_KEY = re.compile(r"[^:{}\[\],\"<]+")
_WORD = re.compile(r"[^,{}\[\]<]+")


def give_braces(feed: Feed, mark: str, depth: int = 0) -> Steps[None]:
    """An object whose texts stand between two of `mark`, as JSON. Raises Malformed, Ended."""
    yield from feed.expect("{")
    yield CallArguments("{")
    separator = ""
    yield from feed.skip_space()
    while not (yield from feed.literal("}")):
        key = yield from _read_key(feed, mark)
        yield CallArguments(f"{separator}{quote(key)}: ")
        separator = ", "
        yield from _give_value(feed, mark, depth + 1)
        yield from _read_comma(feed, "}")
    yield CallArguments("}")


def _read_key(feed: Feed, mark: str) -> Steps[str]:
    if (yield from feed.literal(mark)):
        key, _ = yield from feed.until(mark)
    elif (yield from feed.peek()) == '"':
        key = yield from read_string(feed)
    else:
        key = (yield from feed.matching(_KEY)).strip()
        if not key:
            raise Malformed
    yield from feed.skip_space()
    yield from feed.expect(":")
    yield from feed.skip_space()
    return key


def _give_value(feed: Feed, mark: str, depth: int) -> Steps[None]:
    if depth > MAX_DEPTH:
        raise Malformed
    if (yield from feed.literal(mark)):
        yield CallArguments('"')
        for chunk in feed.chunks(mark):
            yield None if chunk is None else CallArguments(escape(chunk))
        yield CallArguments('"')
        return
    begin = yield from feed.peek()
    if begin == "{":
        yield from give_braces(feed, mark, depth)
    elif begin == "[":
        yield from _give_items(feed, mark, depth)
    elif begin == '"':
        yield CallArguments((yield from read_value(feed)))
    else:
        word = (yield from feed.matching(_WORD)).strip()
        if not word:
            raise Malformed
        yield CallArguments(word if is_json(word) else quote(word))


def _give_items(feed: Feed, mark: str, depth: int) -> Steps[None]:
    yield from feed.expect("[")
    yield CallArguments("[")
    separator = ""
    yield from feed.skip_space()
    while not (yield from feed.literal("]")):
        if separator:
            yield CallArguments(separator)
        separator = ", "
        yield from _give_value(feed, mark, depth + 1)
        yield from _read_comma(feed, "]")
    yield CallArguments("]")


def _read_comma(feed: Feed, end: str) -> Steps[None]:
    yield from feed.skip_space()
    if not (yield from feed.literal(",")) and (yield from feed.peek()) != end:
        raise Malformed
    yield from feed.skip_space()
