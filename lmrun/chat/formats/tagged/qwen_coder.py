"""`<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`: Qwen3-Coder,
Qwen3.5 and others.

Values are plain text; the tool's schema says what JSON they stand for. The line breaks around a
value are not part of it. Source: the chat templates that these models are published with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.tagged import Tags, read_tagged_call
from lmrun.chat.formats.writing.grammars import make_output, quote, write_choice
from lmrun.chat.formats.writing.written_values import Tags as WrittenTags
from lmrun.chat.formats.writing.written_values import write_parameters
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

OPENING = "<tool_call>"
CLOSING = "</tool_call>"
FUNCTION = "<function="
FUNCTION_END = "</function>"
PARAMETER = "<parameter="
PARAMETER_END = "</parameter>"

_TAGS = Tags(
    key=PARAMETER,
    key_ends={">": "by schema"},
    leading=("\n",),
    value_ends=(f"\n{PARAMETER_END}", PARAMETER_END),
)
_WRITTEN = WrittenTags(begin=f"{PARAMETER}%s>\n", margin="\n", end=PARAMETER_END, after="\n")


class QwenCoder:
    """Functions without the tags around them are read, too: these models forget them."""

    name = "qwen_coder"
    reveals_special = False
    has_channels = False

    def matches(self, template: str) -> bool:
        return all(each in template for each in (OPENING, FUNCTION, PARAMETER))

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        openings = {
            OPENING: partial(_read_block, tools=tools),
            FUNCTION: partial(_read_function, tools=tools),
        }
        return ScriptParser(partial(read_calls, openings=openings))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        rules = [f'call: opening "\\n{FUNCTION}" function "{FUNCTION_END}\\n" closing']
        rules.append(write_choice("function", len(tools)))
        for index, tool in enumerate(tools):
            parameters = write_parameters(rules, tool, index, _WRITTEN)
            begin = quote(f"{tool.name}>\n")
            rules.append(f"function_{index}: {begin} {parameters}")
        return make_output(
            rules,
            choice,
            between='"\\n"',
            markers={"opening": OPENING, "closing": CLOSING},
            trigger=OPENING,
        )


def _read_block(feed: Feed, tools: Sequence[Tool]) -> Steps[None]:
    yield from feed.skip_space()
    yield from feed.expect(FUNCTION)
    yield from _read_function(feed, tools)


def _read_function(feed: Feed, tools: Sequence[Tool]) -> Steps[None]:
    """Behind `<function=`, up to the tags that close it all."""
    name, _ = yield from feed.until(">")
    yield from read_tagged_call(feed, tools, name.strip(), _TAGS, (FUNCTION_END,))
    yield from skip_closing(feed, CLOSING)
