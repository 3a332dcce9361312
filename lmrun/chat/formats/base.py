"""What every tool-call format gives: a parser of answers, a grammar for them, and prompts that ask
for it. It knows no single format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

GRAMMAR_BEGIN = "start: calls\n"
"""The first line of every grammar that a format makes, so that others can put something beside the
calls. `calls` is the whole answer, or what begins at a trigger."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of what the model says."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what the model thinks."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call begins, of the tool called `name`. Its arguments follow. `id`: where the format has
    one of its own."""

    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the arguments of the call that began last; all of them are one JSON object."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The call that began last is complete, and can be made."""


@dataclass(frozen=True, slots=True)
class CallBroken:
    """The call that began last is none after all: `text`, all that the model wrote for it, markup
    included, is something it says."""

    text: str


Piece = Text | Thought | CallStart | CallArguments | CallEnd | CallBroken


class Parser(Protocol):
    """Reads one answer as it comes.

    However an answer is cut, the pieces say the same: texts of one kind that follow each other
    count as one. No text raises. Nothing that may turn out to be markup is given out; what turns
    out to be none, is.
    """

    def push(self, text: str) -> list[Piece]:
        """The pieces that are certain after `text`."""

    def finish(self, *, is_cut_off: bool = False) -> list[Piece]:
        """The answer has ended, perhaps in the middle of a call. Where a limit cut it off, the call
        stays as it is, without its CallEnd; where the model itself ended, it is broken. Markup
        before a call has begun becomes Text."""


class ToolFormat(Protocol):
    """How one family of models writes tool calls.

    `reveals_special`: its markup has control tokens, whose text an engine gives only when asked.
    `has_channels`: its markup tells more apart than calls, such as reasoning: every answer is read
    by its parser, with tools or without, and nobody else looks for reasoning.
    """

    @property
    def name(self) -> str: ...

    @property
    def reveals_special(self) -> bool: ...

    @property
    def has_channels(self) -> bool: ...

    def matches(self, template: str) -> bool:
        """Whether a chat template with this source asks for this format."""

    def adapt(self, conversation: Conversation) -> Conversation:
        """The conversation as the template should see it; most change nothing."""

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        """A parser for one answer. Calls of tools that are not among `tools` are calls, too."""

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        """What enforces `choice` for `tools`, at least one: those that may be called. With mode
        `required` the whole answer is one call or several, with `auto` the grammar is lazy (it has
        triggers), a call that begins is well-formed, and after the calls the answer ends.

        Arguments satisfy their tool's schema; without `parallel` there is at most one call. The
        grammar is Lark and begins with GRAMMAR_BEGIN; markup that is a control token in some
        vocabularies is one of its `markers`. It knows nothing of reasoning before the calls unless
        the format has channels. None with `auto` when it cannot be enforced lazily. Such a
        grammar is `best_effort`: a tool whose schema cannot be enforced may be offered, not forced.
        """
