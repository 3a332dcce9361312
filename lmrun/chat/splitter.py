"""From the pieces of a parser to the events of an answer: calls get numbers and ids. Pure."""

from __future__ import annotations

from collections.abc import Callable

from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    ReasoningDelta,
    TokenLogprob,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.chat.formats.base import (
    CallArguments,
    CallBroken,
    CallEnd,
    CallStart,
    Parser,
    Piece,
    Text,
    Thought,
)


class Splitter:
    """Reads one answer with `parser`. `make_id`: an id for a call whose format gives none."""

    def __init__(self, parser: Parser, make_id: Callable[[], str]) -> None:
        self._parser = parser
        self._make_id = make_id
        self._begun = 0
        self._complete = 0

    def push(self, delta: MessageDelta) -> list[Event]:
        """The events that are certain after `delta`. None of its log probabilities is lost: they
        go with the first text, or with an empty one."""
        return _attach(self._to_events(self._parser.push(delta.text)), delta.logprobs)

    def finish(self, end: ChatEnd) -> list[Event]:
        """The last events. Whoever ended by itself after a complete call wants it made."""
        ended_by_itself = end.stop_reason in ("eosFound", "stopStringFound")
        events = self._to_events(self._parser.finish(is_cut_off=not ended_by_itself))
        if self._complete and ended_by_itself:
            end = ChatEnd("toolCalls", end.usage, end.stop_string)
        return [*events, end]

    def _to_events(self, pieces: list[Piece]) -> list[Event]:
        events: list[Event] = []
        for piece in pieces:
            match piece:
                case Text(text):
                    events.append(MessageDelta(text))
                case Thought(text):
                    events.append(ReasoningDelta(text))
                case CallStart(name, id):
                    events.append(ToolCallStart(self._begun, id or self._make_id(), name))
                    self._begun += 1
                case CallArguments(text):
                    events.append(ToolCallArguments(self._begun - 1, text))
                case CallBroken(text):
                    events.append(ToolCallFailed(self._begun - 1, text))
                case CallEnd():
                    self._complete += 1
        return events


def _attach(events: list[Event], logprobs: tuple[TokenLogprob, ...]) -> list[Event]:
    if not logprobs:
        return events
    for place, event in enumerate(events):
        if isinstance(event, MessageDelta):
            return [*events[:place], MessageDelta(event.text, logprobs), *events[place + 1 :]]
        if isinstance(event, ReasoningDelta):
            return [*events[:place], ReasoningDelta(event.text, logprobs), *events[place + 1 :]]
    return [*events, MessageDelta("", logprobs)]
