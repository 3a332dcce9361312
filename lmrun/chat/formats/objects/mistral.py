"""`[TOOL_CALLS]`: Mistral's models. Older ones write an array of objects behind it, newer ones a
name, perhaps an id, and the arguments: `[TOOL_CALLS]name[ARGS]{…}`.

Source: the chat templates that these models are published with.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.feed import Feed, Malformed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import give_object, read_call_objects
from lmrun.chat.formats.writing.grammars import (
    ARGUMENTS,
    enforce_objects,
    make_output,
    quote,
    write_arguments,
    write_choice,
)
from lmrun.chat.messages import Conversation, Message, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

OPENING = "[TOOL_CALLS]"
ARGS = "[ARGS]"
CALL_ID = "[CALL_ID]"

_NAME = re.compile(r"[^\s\[\]{}\"]+")
_ID = re.compile(r"[A-Za-z0-9]{9}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Mistral:
    """`is_named`: calls are a name and `[ARGS]`, not objects. Both are read."""

    is_named: bool

    reveals_special = True
    has_channels = False

    @property
    def name(self) -> str:
        return "mistral_named" if self.is_named else "mistral"

    def matches(self, template: str) -> bool:
        return OPENING in template and (ARGS in template) == self.is_named

    def adapt(self, conversation: Conversation) -> Conversation:
        """Templates refuse ids of another form than nine letters and digits."""
        messages = tuple(_rename_calls(message) for message in conversation.messages)
        return msgspec.structs.replace(conversation, messages=messages)

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        if self.is_named:
            return _enforce_named(tools, choice)
        return _enforce_array(tools, choice)


def shorten_id(id: str) -> str:
    """An id that templates take; the same for the same."""
    if _ID.fullmatch(id):
        return id
    number = int.from_bytes(hashlib.sha256(id.encode("utf-8", "replace")).digest())
    digits = []
    for _ in range(9):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(digits)


def _rename_calls(message: Message) -> Message:
    calls = tuple(
        msgspec.structs.replace(call, id=shorten_id(call.id)) for call in message.tool_calls
    )
    answered = message.tool_call_id
    return msgspec.structs.replace(
        message,
        tool_calls=calls,
        tool_call_id=None if answered is None else shorten_id(answered),
    )


def _read(feed: Feed) -> Steps[None]:
    yield from read_calls(feed, {OPENING: _read_block})


def _read_block(feed: Feed) -> Steps[None]:
    yield from feed.skip_space()
    if (yield from feed.peek()) in "[{":
        yield from read_call_objects(feed)
    else:
        yield from _read_named(feed)


def _read_named(feed: Feed) -> Steps[None]:
    name = yield from feed.matching(_NAME)
    yield from feed.skip_space()
    marker = yield from feed.literal(CALL_ID, ARGS)
    id = None
    if marker == CALL_ID:
        id = yield from feed.matching(_NAME)
        marker = yield from feed.literal(ARGS)
    yield from feed.skip_space()
    if (yield from feed.peek()) != "{":
        raise Malformed
    yield from feed.start_call(name, id)
    yield from give_object(feed)
    yield from feed.end_call()


def _enforce_array(tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
    several = '("," " "? object)*' if choice.parallel else ""
    return enforce_objects(
        tools,
        choice,
        call=f'opening " "? "[" object {several} "]"',
        between=None,
        markers={"opening": OPENING},
        trigger=OPENING,
    )


def _enforce_named(tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
    rules = ["call: opening named", write_choice("named", len(tools))]
    for index, tool in enumerate(tools):
        rules.append(f"named_{index}: {quote(tool.name)} args {ARGUMENTS.format(index=index)}")
    return make_output(
        [*rules, *write_arguments(tools)],
        choice,
        between="",
        markers={"opening": OPENING, "args": ARGS},
        trigger=OPENING,
    )
