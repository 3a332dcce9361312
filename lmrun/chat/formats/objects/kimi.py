"""`<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}<|tool_call_end|>` inside of
`<|tool_calls_section_begin|>` and `<|tool_calls_section_end|>`: Kimi K2.

Source: the chat template of Kimi-K2-Instruct. What stands before the arguments is the call's id,
and the tool's name is a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import give_object
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

SECTION = "<|tool_calls_section_begin|>"
SECTION_END = "<|tool_calls_section_end|>"
CALL = "<|tool_call_begin|>"
ARGUMENTS = "<|tool_call_argument_begin|>"
CALL_END = "<|tool_call_end|>"

_ID = re.compile(r"(?:functions\.)?(?P<name>.+?)(?::\d+)?$", re.DOTALL)


class KimiK2:
    """Kimi K2, Instruct and Thinking."""

    name = "kimi_k2"
    reveals_special = True
    has_channels = False

    def matches(self, template: str) -> bool:
        return CALL in template and ARGUMENTS in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(lambda feed: read_calls(feed, {SECTION: _read_section, CALL: _read}))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        rules = [write_choice("call", len(tools)), *write_arguments(tools), "NUMBER: /[0-9]{1,3}/"]
        rules += [
            f"call_{index}: begin {quote(f'functions.{tool.name}:')} NUMBER"
            f" argument_begin arguments_{index} end"
            for index, tool in enumerate(tools)
        ]
        return make_output(
            rules,
            choice,
            between='""',
            markers={
                "section": SECTION,
                "section_end": SECTION_END,
                "begin": CALL,
                "argument_begin": ARGUMENTS,
                "end": CALL_END,
            },
            trigger=SECTION,
            around=("section", "section_end"),
        )


def _read_section(feed: Feed) -> Steps[None]:
    yield from feed.skip_space()
    yield from feed.expect(CALL)
    yield from _read(feed)


def _read(feed: Feed) -> Steps[None]:
    """Calls, after the first one's marker."""
    marker = CALL
    while marker == CALL:
        id, _ = yield from feed.until(ARGUMENTS)
        yield from feed.skip_space()
        found = _ID.match(id.strip())
        yield from feed.start_call(found["name"] if found else "", id.strip())
        yield from give_object(feed)
        yield from feed.end_call()
        yield from skip_closing(feed, CALL_END)
        marker = yield from skip_closing(feed, CALL, SECTION_END)
