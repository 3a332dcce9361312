"""`<|tools_prefix|>[{"get_weather": {…}}]<|tools_suffix|>`: Apertus, where the only member of a
call's object is called as the tool is.

Reasoning stands between `<|inner_prefix|>` and `<|inner_suffix|>`. Source: the chat template of
Apertus-8B-Instruct.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps
from lmrun.chat.formats.reading.objects import give_object, read_string
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

TOOLS = "<|tools_prefix|>"
TOOLS_END = "<|tools_suffix|>"
INNER = "<|inner_prefix|>"
INNER_END = "<|inner_suffix|>"


class Apertus:
    """A call may stand inside of reasoning, which goes on behind it."""

    name = "apertus"
    reveals_special = True
    has_channels = True

    def matches(self, template: str) -> bool:
        return TOOLS in template and TOOLS_END in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        rules = [write_choice("call", len(tools)), *write_arguments(tools)]
        for index, tool in enumerate(tools):
            head = quote(f"{{{quote(tool.name)}: ")
            rules.append(f'call_{index}: {head} arguments_{index} "}}"')
        return make_output(
            rules,
            choice,
            between='", "',
            markers={"opening": TOOLS, "closing": TOOLS_END},
            trigger=TOOLS,
            around=('opening "["', '"]" closing'),
        )


def _read(feed: Feed) -> Steps[None]:
    is_thinking = False
    while True:
        if is_thinking:
            marker = yield from feed.think_until(INNER_END, TOOLS)
        else:
            marker = yield from feed.say_until(INNER, TOOLS, INNER_END)
        if not marker:
            return
        if marker == TOOLS:
            yield from feed.attempt(_read_block)
        else:
            is_thinking = marker == INNER


def _read_block(feed: Feed) -> Steps[None]:
    yield from feed.skip_space()
    yield from feed.expect("[")
    separator = ","
    while separator == ",":
        yield from feed.skip_space()
        yield from _read_call(feed)
        yield from feed.skip_space()
        separator = yield from feed.expect(",", "]")
        feed.settle()
    yield from skip_closing(feed, TOOLS_END)


def _read_call(feed: Feed) -> Steps[None]:
    yield from feed.expect("{")
    yield from feed.skip_space()
    name = yield from read_string(feed)
    yield from feed.skip_space()
    yield from feed.expect(":")
    yield from feed.skip_space()
    yield from feed.start_call(name)
    yield from give_object(feed)
    yield from feed.skip_space()
    yield from feed.expect("}")
    yield from feed.end_call()
