"""`<|tool_call|>[{"name": …, "arguments": {…}}]`: Granite 3.x.

A model that was asked to think writes `<think>…</think><response>…</response>`. Source: the chat
template of granite-3.3-instruct. Granite 4 writes as Hermes does; a 3.0 model without the control
token writes `<tool_call>` in its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.objects.marked import MarkedObjects
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

THINK = "<think>"
THINK_END = "</think>"
RESPONSE = "<response>"
RESPONSE_END = "</response>"

_MARKUP = MarkedObjects(
    name="granite",
    signs=("<|start_of_role|>", "<|tool_call|>"),
    openings=("<|tool_call|>", "<tool_call>"),
    reveals_special=True,
)


class Granite:
    """Reasoning stands at the beginning, and only behind it a response has tags."""

    name = _MARKUP.name
    reveals_special = True
    has_channels = True

    def matches(self, template: str) -> bool:
        return _MARKUP.matches(template)

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(lambda feed: _Answer().read(feed))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return _MARKUP.make_grammar(tools, choice)


class _Answer:
    """`markers`: what does not belong to its text."""

    def __init__(self) -> None:
        self._markers = _MARKUP.openings

    def read(self, feed: Feed) -> Steps[None]:
        yield from feed.attempt(self._read_thought)
        while marker := (yield from feed.say_until(*self._markers)):
            if marker != RESPONSE_END:
                yield from feed.attempt(_MARKUP.read_block)

    def _read_thought(self, feed: Feed) -> Steps[None]:
        yield from feed.skip_space()
        yield from feed.expect(THINK)
        yield from feed.think_until(THINK_END)
        yield from feed.skip_space()
        if (yield from feed.literal(RESPONSE)):
            self._markers = (*_MARKUP.openings, RESPONSE_END)
