"""`<|tool_call:begin|>id<|tool_call:name|>name<|tool_call:args|>{…}<|tool_call:end|>`: Solar Open,
which also marks reasoning and text.

Source: the chat template of Solar-Open-100B.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps
from lmrun.chat.formats.reading.objects import give_object
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

THINK = "<|think|>"
TOOL_CALLS = "<|tool_calls|>"
CALL = "<|tool_call:begin|>"
CALL_NAME = "<|tool_call:name|>"
CALL_ARGUMENTS = "<|tool_call:args|>"
CALL_END = "<|tool_call:end|>"
CALLS_END = "<|calls|>"
MESSAGE = "<|begin|>assistant"
CONTENT = "<|content|>"
END = "<|end|>"

_MARKERS = {
    "calls_begin": TOOL_CALLS,
    "begin": CALL,
    "name": CALL_NAME,
    "args": CALL_ARGUMENTS,
    "end": CALL_END,
}


class SolarOpen:
    """The prompt ends with `<|begin|>assistant`: an answer begins with its kind."""

    name = "solar_open"
    reveals_special = True
    has_channels = True

    def matches(self, template: str) -> bool:
        return CALL in template and CALL_ARGUMENTS in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        rules = [
            write_choice("call", len(tools)),
            *write_arguments(tools),
            "ID: /[a-z0-9]{10}/",
        ]
        rules += [
            f"call_{index}: begin ID name {quote(tool.name)} args arguments_{index} end"
            for index, tool in enumerate(tools)
        ]
        is_lazy = choice.mode == "auto"
        markers = _MARKERS if is_lazy else {**_MARKERS, "message": "<|begin|>"}
        return make_output(
            rules,
            choice,
            between='""',
            markers=markers,
            trigger=TOOL_CALLS,
            around=("calls_begin" if is_lazy else '(message "assistant")? calls_begin', ""),
        )


def _read(feed: Feed) -> Steps[None]:
    while marker := (
        yield from feed.say_until(THINK, CONTENT, END, MESSAGE, TOOL_CALLS, CALL, CALLS_END)
    ):
        if marker == THINK:
            yield from feed.think_until(END)
        elif marker == CALL:
            yield from feed.attempt(_read_call)


def _read_call(feed: Feed) -> Steps[None]:
    """One call, after its marker."""
    id, _ = yield from feed.until(CALL_NAME)
    name, _ = yield from feed.until(CALL_ARGUMENTS)
    yield from feed.skip_space()
    yield from feed.start_call(name, id.strip() or None)
    yield from give_object(feed)
    yield from feed.end_call()
    yield from skip_closing(feed, CALL_END)
