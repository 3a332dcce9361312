"""Llama 3.1, 3.2 and 3.3: the whole answer is `{"name": …, "parameters": {…}}`, or what follows
`<|python_tag|>` is: such an object, a built-in tool as `name.call(key=value)`, or Python code.

Source: Meta's prompt format, and the chat templates that these models are published with.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from functools import partial

import msgspec

from lmrun.chat.formats.base import CallArguments, Parser
from lmrun.chat.formats.reading.feed import Ended, Feed, Malformed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import Members, read_call_objects
from lmrun.chat.formats.reading.python import read_python_call
from lmrun.chat.formats.reading.values import escape, list_arguments
from lmrun.chat.formats.writing.grammars import enforce_objects
from lmrun.chat.messages import Conversation, Message, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

OPENING = "<|python_tag|>"

_SHOWN = 'Respond in the format {"name": function name, "parameters": dictionary of argument'
_MEMBERS = Members(name=("name", "function"), begins_late=True)
_INTERPRETERS = ("python", "ipython", "code_interpreter")
"""What a tool is called that takes code, which these models write without a name."""
_CALL = re.compile(r"[A-Za-z_][\w-]*\.call\(")
_MAYBE_CALL = re.compile(r"(?:[A-Za-z_][\w-]*(?:\.(?:c(?:a(?:ll?)?)?)?)?)?")


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
        return ScriptParser(partial(_read, tools=tools))

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


def _read(feed: Feed, tools: Sequence[Tool]) -> Steps[None]:
    """An object only counts where the answer begins: later it is something the model talks of."""
    yield from feed.attempt(_read_bare)
    yield from read_calls(feed, {OPENING: partial(_read_tagged, tools=tools)})


def _read_bare(feed: Feed) -> Steps[None]:
    yield from feed.skip_space()
    if (yield from feed.peek()) != "{":
        raise Malformed
    yield from _read_objects(feed)


def _read_tagged(feed: Feed, tools: Sequence[Tool]) -> Steps[None]:
    yield from feed.skip_space()
    interpreter = next((tool for tool in tools if tool.name in _INTERPRETERS), None)
    if (yield from feed.peek()) in "{[":
        yield from _read_objects(feed)
    elif interpreter is None or (yield from _is_call(feed)):
        yield from read_python_call(feed, tools, suffix=".call")
    else:
        yield from _read_code(feed, interpreter)


def _read_objects(feed: Feed) -> Steps[None]:
    """Calls with a semicolon, a comma or white space between them."""
    yield from read_call_objects(feed, _MEMBERS)
    while (yield from _is_followed(feed)):
        yield from read_call_objects(feed, _MEMBERS)


def _is_followed(feed: Feed) -> Steps[bool]:
    """Whether another call comes next."""
    try:
        yield from feed.skip_space()
        yield from feed.literal(";", ",")
        yield from feed.skip_space()
    except Ended:
        feed.settle()
        return False
    return feed.text.startswith("{")


def _is_call(feed: Feed) -> Steps[bool]:
    """Whether a built-in tool is called next, as far as one can tell."""
    while not (found := _CALL.match(feed.text)):
        if not _MAYBE_CALL.fullmatch(feed.text):
            return False
        yield from feed.more()
    return bool(found)


def _read_code(feed: Feed, tool: Tool) -> Steps[None]:
    """All that follows is code for `tool`."""
    argument = next(iter(list_arguments([tool], tool.name)), "code")
    yield from feed.start_call(tool.name)
    yield CallArguments(f'{{"{escape(argument)}": "')
    with contextlib.suppress(Ended):
        while True:
            yield CallArguments(escape(feed.take(len(feed.text))))
            yield from feed.more()
    yield CallArguments('"}')
    yield from feed.end_call()
