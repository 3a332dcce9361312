"""Llama 3.1, 3.2 and 3.3: the whole answer is `{"name": …, "parameters": {…}}`, or what follows
`<|python_tag|>` is: such an object, a built-in tool as `name.call(key=value)`, or Python code.

Source: Meta's prompt format, and the chat templates that these models are published with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from lmrun.chat.formats.base import CallArguments, Parser
from lmrun.chat.formats.grammars import enforce_objects
from lmrun.chat.formats.reading.feed import Ended, Feed, Malformed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import Members, read_call_objects, read_value
from lmrun.chat.formats.reading.values import escape, quote
from lmrun.chat.messages import Conversation, Message, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

OPENING = "<|python_tag|>"

_SHOWN = 'Respond in the format {"name": function name, "parameters": dictionary of argument'
_MEMBERS = Members(name=("name", "function"), begins_late=True)
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_PYTHON = {"True": "true", "False": "false", "None": "null"}


class Llama:
    """One call in an answer, as these models were trained; several are read."""

    name = "llama"
    reveals_special = True
    has_channels = False

    def matches(self, template: str) -> bool:
        return _SHOWN in template

    def adapt(self, conversation: Conversation) -> Conversation:
        """Templates refuse several calls in one message: each gets one of its own, followed by its
        result."""
        messages = tuple(_split_calls(conversation.messages))
        return msgspec.structs.replace(conversation, messages=messages)

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return enforce_objects(
            tools,
            choice,
            call="object",
            between=None,
            markers={},
            trigger=None,
            arguments="parameters",
        )


def _split_calls(messages: Sequence[Message]) -> list[Message]:
    results = {m.tool_call_id: m for m in messages if m.role == "tool" and m.tool_call_id}
    split: list[Message] = []
    moved: set[str] = set()
    for message in messages:
        if message.role == "tool" and message.tool_call_id in moved:
            continue
        if len(message.tool_calls) < 2:
            split.append(message)
            continue
        for call in message.tool_calls:
            split.append(msgspec.structs.replace(message, tool_calls=(call,)))
            if call.id in results and call.id not in moved:
                split.append(results[call.id])
                moved.add(call.id)
    return split


def _read(feed: Feed) -> Steps[None]:
    """An object only counts where the answer begins: later it is something the model talks of."""
    yield from feed.attempt(_read_bare)
    yield from read_calls(feed, {OPENING: _read_tagged})


def _read_bare(feed: Feed) -> Steps[None]:
    yield from feed.skip_space()
    if (yield from feed.peek()) != "{":
        raise Malformed
    yield from _read_objects(feed)


def _read_tagged(feed: Feed) -> Steps[None]:
    yield from feed.skip_space()
    if (yield from feed.peek()) in "{[":
        yield from _read_objects(feed)
    else:
        yield from _read_builtin(feed)


def _read_objects(feed: Feed) -> Steps[None]:
    """Calls with a semicolon, a comma or white space between them."""
    yield from read_call_objects(feed, _MEMBERS)
    try:
        while True:
            yield from feed.skip_space()
            yield from feed.literal(";", ",")
            yield from feed.skip_space()
            if not feed.text.startswith("{"):
                return
            yield from read_call_objects(feed, _MEMBERS)
    except Ended:
        if feed.text:
            raise
        feed.settle()


def _read_builtin(feed: Feed) -> Steps[None]:
    name = yield from feed.matching(_NAME)
    yield from feed.expect(".call(")
    yield from feed.start_call(name)
    begin = "{"
    yield from feed.skip_space()
    closing = yield from feed.literal(")")
    while not closing:
        yield from feed.skip_space()
        key = yield from feed.matching(_NAME)
        yield from feed.skip_space()
        yield from feed.expect("=")
        yield from feed.skip_space()
        if not key:
            raise Malformed
        value = yield from _read_python_value(feed)
        yield CallArguments(f'{begin}"{escape(key)}": {value}')
        begin = ", "
        yield from feed.skip_space()
        closing = (yield from feed.expect(",", ")")).strip(",")
    yield CallArguments("{}" if begin == "{" else "}")
    yield from feed.end_call()


def _read_python_value(feed: Feed) -> Steps[str]:
    """The JSON of a value in Python's or JSON's notation."""
    first = yield from feed.peek()
    if first == "'":
        return (yield from _read_quoted(feed))
    if first in "TFN":
        word = yield from feed.matching(_WORD)
        if word not in _PYTHON:
            raise Malformed
        return _PYTHON[word]
    return (yield from read_value(feed)).strip()


def _read_quoted(feed: Feed) -> Steps[str]:
    yield from feed.expect("'")
    said = ""
    while (character := (yield from _next(feed))) != "'":
        if character == "\\":
            escaped = yield from _next(feed)
            character = {"n": "\n", "t": "\t"}.get(escaped, escaped)
        said += character
    return quote(said)


def _next(feed: Feed) -> Steps[str]:
    yield from feed.peek()
    return feed.take(1)
