"""A run as one generation: what a client that named an agent as its model reads of it. Pure.

It knows no dialect: every one can write reasoning, text and an end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from lmrun.tools.act.events import ActEnd, ActEvent, CallFailed, CallSucceeded, RoundStart

MAX_SHOWN = 400
"""Characters of a call's arguments, and of its result, in a line about it."""


@dataclass(slots=True)
class Retelling:
    """`with_steps`: what happens before the last round becomes reasoning; else nobody hears of it.
    `has_tools`: the run may offer some.

    Whether a round is the last one is known only at its end, for it is the one that calls no tool;
    its text is held back until then. Of a round that is offered no tools it is known before.
    """

    with_steps: bool
    has_tools: bool = True
    _is_live: bool = False
    _calls: bool = False
    _held: list[MessageDelta | ReasoningDelta] = field(default_factory=list)
    _arguments: dict[int, list[str]] = field(default_factory=dict)
    _stop_string: str | None = None

    def listen(self, event: Event) -> None:
        """What the model itself says in a round, of which a run tells less."""
        if isinstance(event, ChatEnd):
            self._stop_string = event.stop_string

    def take(self, event: ActEvent) -> Iterator[Event]:
        """What the client hears of `event`."""
        match event:
            case RoundStart(_, is_last):
                self._is_live, self._calls = is_last or not self.has_tools, False
                self._held.clear()
                self._arguments.clear()
            case PromptProgress():
                yield event
            case ReasoningDelta():
                yield from self._say(event, is_sure=self.with_steps)
            case MessageDelta():
                yield from self._say(event, is_sure=False)
            case ToolCallStart(index):
                self._arguments[index] = []
                yield from self._tell_of_calls()
            case ToolCallArguments(index, text):
                self._arguments[index].append(text)
            case CallSucceeded() | CallFailed():
                yield from self._tell_of_calls()
                if self.with_steps:
                    yield ReasoningDelta(self._show(event))
            case ActEnd(_, stop_reason, _, _, usage):
                yield from self._held
                yield ChatEnd(stop_reason, usage, self._stop_string)

    def _say(self, event: MessageDelta | ReasoningDelta, *, is_sure: bool) -> Iterator[Event]:
        if self._is_live or is_sure:
            yield event
        elif self._calls and self.with_steps:
            yield _as_step(event)
        else:
            self._held.append(event)

    def _tell_of_calls(self) -> Iterator[Event]:
        """This round is not the last one: what it said was on the way."""
        self._calls = True
        if self.with_steps:
            yield from map(_as_step, self._held)
            self._held.clear()

    def _show(self, event: CallSucceeded | CallFailed) -> str:
        """`\\nadd({"a": 1, "b": 2}) → 3\\n`, in one line whatever the arguments and the result."""
        arguments = _shorten("".join(self._arguments.get(event.index, ())))
        failure = f"{event.error}: " if isinstance(event, CallFailed) else ""
        return f"\n{event.name}({arguments}) → {failure}{_shorten(event.text)}\n"


def _as_step(said: MessageDelta | ReasoningDelta) -> ReasoningDelta:
    return ReasoningDelta(said.text, said.logprobs)


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"
