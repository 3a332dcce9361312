"""`<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`: Qwen3-Coder,
Qwen3.5 and others.

Values are plain text; the tool's schema says what JSON they stand for. The line breaks around a
value are not part of it. Source: the chat templates that these models are published with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from lmrun.chat.formats.base import CallArguments, Parser
from lmrun.chat.formats.grammars import make_output, quote, write_choice
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.values import escape, find_schema, is_text, to_json
from lmrun.chat.formats.written_values import Tags, write_parameters
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

OPENING = "<tool_call>"
CLOSING = "</tool_call>"
FUNCTION = "<function="
FUNCTION_END = "</function>"
PARAMETER = "<parameter="
PARAMETER_END = "</parameter>"

_TAGS = Tags(begin=f"{PARAMETER}%s>\n", margin="\n", end=PARAMETER_END, after="\n")


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
            parameters = write_parameters(rules, tool, index, _TAGS)
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
    yield from feed.start_call(name)
    begin = "{"
    yield from feed.skip_space()
    while (yield from feed.expect(PARAMETER, FUNCTION_END)) == PARAMETER:
        key, _ = yield from feed.until(">")
        yield CallArguments(f'{begin}"{escape(key)}": ')
        yield from _read_value(feed, find_schema(tools, name.strip(), key))
        begin = ", "
        yield from feed.skip_space()
    yield CallArguments("{}" if begin == "{" else "}")
    yield from feed.end_call()
    yield from skip_closing(feed, CLOSING)


def _read_value(feed: Feed, schema: Any) -> Steps[None]:
    """A parameter's value: text as it comes; anything else once it is whole."""
    yield from feed.literal("\n")
    if not is_text(schema):
        written = yield from _read_whole(feed)
        yield CallArguments(to_json(written, schema))
        return
    yield CallArguments('"')
    chunks = feed.chunks(f"\n{PARAMETER_END}", PARAMETER_END)
    for chunk in chunks:
        yield None if chunk is None else CallArguments(escape(chunk))
    yield CallArguments('"')


def _read_whole(feed: Feed) -> Steps[str]:
    written = ""
    for chunk in feed.chunks(f"\n{PARAMETER_END}", PARAMETER_END):
        if chunk is None:
            yield None
        else:
            written += chunk
    return written
