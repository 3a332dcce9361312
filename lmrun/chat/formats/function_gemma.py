"""`<start_function_call>call:name{city:<escape>Paris<escape>}<end_function_call>`: FunctionGemma;
Gemma 4 writes the same with other marks, and thinks in a channel.

Source: the chat templates of functiongemma-270m-it and gemma-4-31B-it. What is enforced has JSON
between the braces, which is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.braces import give_braces
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput, ThoughtMarks

_NAME = re.compile(r"[\w.\-/]+")


@dataclass(frozen=True, slots=True)
class FunctionGemma:
    """`mark`: stands on both sides of a text. `response`: what the model begins to write behind
    its calls, in place of whoever makes them. `thought`: what stands around reasoning."""

    name: str
    opening: str
    closing: str
    mark: str
    response: str
    thought: ThoughtMarks | None = None
    reveals_special: bool = True

    @property
    def has_channels(self) -> bool:
        return self.thought is not None

    def matches(self, template: str) -> bool:
        return self.opening in template and self.mark in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(self._read)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        rules = [write_choice("call", len(tools)), *write_arguments(tools)]
        for index, tool in enumerate(tools):
            head = quote(f"call:{tool.name}")
            rules.append(f"call_{index}: opening {head} arguments_{index} closing")
        return make_output(
            rules,
            choice,
            between='""',
            markers={"opening": self.opening, "closing": self.closing},
            trigger=self.opening,
        )

    def _read(self, feed: Feed) -> Steps[None]:
        markers = [self.opening, *([self.thought.start] if self.thought else [])]
        while marker := (yield from feed.say_until(*markers)):
            if marker == self.opening:
                yield from feed.attempt(self._read_call)
            else:
                yield from feed.attempt(self._read_thought)

    def _read_call(self, feed: Feed) -> Steps[None]:
        yield from feed.skip_space()
        yield from feed.literal("call:")
        name = yield from feed.matching(_NAME)
        yield from feed.skip_space()
        yield from feed.start_call(name)
        yield from give_braces(feed, self.mark)
        yield from feed.end_call()
        yield from skip_closing(feed, self.closing)
        yield from skip_closing(feed, self.response)

    def _read_thought(self, feed: Feed) -> Steps[None]:
        assert self.thought is not None
        yield from feed.literal("thought\n")
        yield from feed.think_until(self.thought.end)


FUNCTION_GEMMA = FunctionGemma(
    "function_gemma",
    opening="<start_function_call>",
    closing="<end_function_call>",
    mark="<escape>",
    response="<start_function_response>",
)
GEMMA_4 = FunctionGemma(
    "gemma_4",
    opening="<|tool_call>",
    closing="<tool_call|>",
    mark='<|"|>',
    response="<|tool_response>",
    thought=ThoughtMarks(start="<|channel>", end="<channel|>"),
)
