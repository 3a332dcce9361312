"""`<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen2.5, Qwen3 and others.

Source: the chat templates that these models are published with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import read_call_objects
from lmrun.chat.formats.writing.grammars import enforce_objects
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

OPENING = "<tool_call>"
CLOSING = "</tool_call>"

_SHOWN = re.compile(
    r"<tool_call>(?:\\n|\s)*\{\s*\\?[\"']|json object .*within <tool_call></tool_call> XML tags"
)
"""How a template shows the format to the model, or writes an earlier call."""


class Hermes:
    """Each call in tags of its own; several objects, or an array of them, in one are read, too."""

    name = "hermes"
    reveals_special = False
    has_channels = False

    def matches(self, template: str) -> bool:
        return _SHOWN.search(template) is not None and CLOSING in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return enforce_objects(
            tools,
            choice,
            call='opening "\\n" object "\\n" closing',
            between='"\\n"',
            markers={"opening": OPENING, "closing": CLOSING},
            trigger=OPENING,
        )


def _read(feed: Feed) -> Steps[None]:
    yield from read_calls(feed, {OPENING: _read_block})


def _read_block(feed: Feed) -> Steps[None]:
    yield from read_call_objects(feed)
    while not (yield from skip_closing(feed, CLOSING)) and feed.text.startswith("{"):
        yield from read_call_objects(feed)
