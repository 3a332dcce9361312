"""Fences of Gemma 3: a call as Python writes it after ```` ```tool_code ````, or an object after
```` ```json ````, and both without a fence where an answer begins.

Gemma 3 was taught no markup for calls; templates for it ask for one of these. What is in a fence is
a call only where it calls one of the tools that were offered. Source: Google's guide to function
calling with Gemma 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps
from lmrun.chat.formats.reading.objects import Members, read_call_objects
from lmrun.chat.formats.reading.python import read_call_list, read_python_call
from lmrun.chat.formats.writing.grammars import make_output, quote
from lmrun.chat.formats.writing.written_python import write_python_calls
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

CODE = "```tool_code"
OBJECTS = ("```json", "```tool_call")
FENCE_END = "```"

_WRAPPERS = ("print(",)
_MODULE = "default_api."


class Gemma:
    """Gemma 3 with a template that shows it tools."""

    name = "gemma"
    reveals_special = False
    has_channels = False

    def matches(self, template: str) -> bool:
        return "<start_of_turn>" in template and any(
            each in template for each in ("tool_code", "tools")
        )

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(lambda feed: _Answer(tools).read(feed))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return make_output(
            write_python_calls(tools),
            choice,
            between='"\\n"',
            markers={},
            trigger=CODE,
            around=(quote(f"{CODE}\n"), quote(f"\n{FENCE_END}")),
        )


class _Answer:
    """`tools`: those that were offered."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools
        self._names = frozenset(tool.name for tool in tools)

    def read(self, feed: Feed) -> Steps[None]:
        yield from feed.attempt(self._read_bare)
        while marker := (yield from feed.say_until(CODE, *OBJECTS)):
            yield from feed.attempt(self._read_code if marker == CODE else self._read_objects)

    def _read_bare(self, feed: Feed) -> Steps[None]:
        """A list of calls, or an object, with which the answer begins."""
        yield from feed.skip_space()
        begin = yield from feed.peek()
        if begin == "[":
            yield from read_call_list(feed, self._tools, self._names)
        elif begin == "{":
            yield from read_call_objects(feed, Members(known=self._names))

    def _read_code(self, feed: Feed) -> Steps[None]:
        yield from self._read_line(feed)
        while not (yield from skip_closing(feed, FENCE_END)):
            yield from self._read_line(feed)

    def _read_line(self, feed: Feed) -> Steps[None]:
        yield from feed.skip_space()
        if (yield from feed.peek()) == "[":
            yield from read_call_list(feed, self._tools, self._names)
            return
        is_wrapped = yield from feed.literal(*_WRAPPERS)
        yield from read_python_call(feed, self._tools, self._names, prefix=_MODULE)
        if is_wrapped:
            yield from skip_closing(feed, ")")

    def _read_objects(self, feed: Feed) -> Steps[None]:
        yield from read_call_objects(feed, Members(known=self._names))
        yield from skip_closing(feed, FENCE_END)
