"""`<function=name>{…}</function>`: functionary v3.1; `>>>name` and an object in the next line:
v3.2, where `>>>all` precedes what everybody may read.

Source: the chat templates of functionary-medium-v3.1 and functionary-medium-v3.2. The prompts of
v3.2 end with the first `>>>`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, Malformed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import give_object
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

FUNCTION = "<function="
FUNCTION_END = "</function>"
RECIPIENT = ">>>"
EVERYBODY = "all"

_RECIPIENT_NAME = re.compile(r"[\w.\-]*")


class FunctionaryTags:
    """Functionary v3.1."""

    name = "functionary_tags"
    reveals_special = False
    has_channels = False

    def matches(self, template: str) -> bool:
        return "`<function`" in template and FUNCTION_END in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(lambda feed: read_calls(feed, {FUNCTION: _read_function}))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        rules = [write_choice("call", len(tools)), *write_arguments(tools)]
        for index, tool in enumerate(tools):
            head, tail = quote(f"{FUNCTION}{tool.name}>"), quote(FUNCTION_END)
            rules.append(f"call_{index}: {head} arguments_{index} {tail}")
        return make_output(rules, choice, between='"\\n"', markers={}, trigger=FUNCTION)


class FunctionaryRecipients:
    """Functionary v3.2. What begins an answer is a recipient, or text where a model forgets it."""

    name = "functionary_recipients"
    reveals_special = False
    has_channels = True

    def matches(self, template: str) -> bool:
        return ">>>${recipient}" in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read_messages)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        """None for `auto`: the first call begins with its name, as any text may."""
        rules = [write_choice("call", len(tools)), *write_arguments(tools)]
        for index, tool in enumerate(tools):
            head = quote(f"{tool.name}\n")
            rules.append(f"call_{index}: {head} arguments_{index}")
        return make_output(rules, choice, between=quote(RECIPIENT), markers={}, trigger=None)


def _read_function(feed: Feed) -> Steps[None]:
    name, _ = yield from feed.until(">")
    yield from feed.skip_space()
    yield from feed.start_call(name)
    yield from give_object(feed)
    yield from feed.end_call()
    yield from skip_closing(feed, FUNCTION_END)


def _read_messages(feed: Feed) -> Steps[None]:
    yield from feed.attempt(_read_first)
    while (yield from feed.say_until(RECIPIENT)):
        yield from feed.attempt(_read_message)


def _read_first(feed: Feed) -> Steps[None]:
    yield from feed.literal(RECIPIENT)
    yield from _read_message(feed)


def _read_message(feed: Feed) -> Steps[None]:
    """A recipient and what it gets; what everybody gets is left to be text."""
    name = yield from feed.matching(_RECIPIENT_NAME)
    yield from feed.expect("\n")
    if name == EVERYBODY:
        return
    yield from feed.skip_space()
    if (yield from feed.peek()) != "{":
        raise Malformed
    yield from feed.start_call(name)
    yield from give_object(feed)
    yield from feed.end_call()
