"""`<|tool_call_start|>[get_weather(city="Paris")]<|tool_call_end|>`: LFM2 and LFM2.5, which write
calls as Python does.

Source: the chat templates and model cards of LFM2. The older templates name the markers nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.python import read_call_list
from lmrun.chat.formats.writing.grammars import make_output
from lmrun.chat.formats.writing.written_python import write_python_calls
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

OPENING = "<|tool_call_start|>"
CLOSING = "<|tool_call_end|>"


class Lfm2:
    """All calls are in one list."""

    name = "lfm2"
    reveals_special = True
    has_channels = False

    def matches(self, template: str) -> bool:
        return "List of tools: [" in template or "<|tool_list_start|>" in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        def read_block(feed: Feed) -> Steps[None]:
            yield from read_call_list(feed, tools)
            yield from skip_closing(feed, CLOSING)

        return ScriptParser(lambda feed: read_calls(feed, {OPENING: read_block}))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return make_output(
            write_python_calls(tools),
            choice,
            between='", "',
            markers={"opening": OPENING, "closing": CLOSING},
            trigger=OPENING,
            around=('opening "["', '"]" closing'),
        )
