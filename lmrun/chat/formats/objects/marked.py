"""Formats whose calls are JSON objects between markers, which differ in the markers alone. It knows
no single family of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import STANDARD, Members, read_call_objects
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput


@dataclass(frozen=True, slots=True)
class MarkedObjects:
    """`signs`: texts that a template has, all of them, when it asks for this format. `openings`
    and `closings`: markers that models write; the first is the one that is enforced. `layout`:
    what stands before the first object, between two and behind the last; no text between: one
    object only."""

    name: str
    signs: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...] = ()
    members: Members = STANDARD
    layout: tuple[str, str, str] = ("[", ", ", "]")
    reveals_special: bool = False
    has_channels: bool = False
    trigger: str | None = None

    def matches(self, template: str) -> bool:
        return all(sign in template for sign in self.signs)

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(
            lambda feed: read_calls(feed, dict.fromkeys(self.openings, self.read_block))
        )

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        markers = {"opening": self.openings[0]} | (
            {"closing": self.closings[0]} if self.closings else {}
        )
        before, between, after = (quote(text) if text else "" for text in self.layout)
        return make_output(
            write_call_objects(tools, self.members),
            choice,
            between=between or None,
            markers=markers,
            trigger=self.trigger or self.openings[0],
            around=(f"opening {before}", f"{after} {'closing' if self.closings else ''}"),
        )

    def read_block(self, feed: Feed) -> Steps[None]:
        """What stands behind an opening marker. Raises Malformed, Ended."""
        yield from read_call_objects(feed, self.members)
        while not (yield from skip_closing(feed, *self.closings)) and feed.text.startswith("{"):
            yield from read_call_objects(feed, self.members)


def write_call_objects(tools: Sequence[Tool], members: Members = STANDARD) -> list[str]:
    """Rules for `call`: an object with the name of a tool and arguments that satisfy its schema."""
    rules = [write_choice("call", len(tools)), *write_arguments(tools)]
    name, arguments = quote(members.name[0]), quote(members.arguments[0])
    for index, tool in enumerate(tools):
        begin = quote(f"{{{name}: {quote(tool.name)}, {arguments}: ")
        rules.append(f'call_{index}: {begin} arguments_{index} "}}"')
    return rules
