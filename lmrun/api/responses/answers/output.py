"""A generation's events → a response's output items, and the events of a stream about them. Pure.

Whole and streamed answers are made by the same steps, so they say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol, TypeVar

from lmrun.api.responses.answers.bodies import (
    FunctionCall,
    Logprob,
    OutputItem,
    OutputMessage,
    OutputText,
    Reasoning,
    ReasoningText,
    Status,
    to_logprobs,
)
from lmrun.api.responses.answers.events import (
    ArgumentsDelta,
    ArgumentsDone,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    ReasoningDone,
    StreamEvent,
    TextDelta,
    TextDone,
)
from lmrun.api.responses.answers.events import ReasoningDelta as ReasoningTextDelta
from lmrun.chat.events import (
    Event,
    MessageDelta,
    ReasoningDelta,
    TokenLogprob,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.tools.act.events import ActEvent

EventT = TypeVar("EventT", bound=StreamEvent)


@dataclass(slots=True)
class Numbers:
    """Gives the events of one stream their numbers."""

    _next: Iterator[int] = field(default_factory=count)

    def say(self, kind: type[EventT], **fields: Any) -> EventT:
        return kind(sequence_number=next(self._next), **fields)


class _Open(Protocol):
    """An item that grows. Each method gives the events that say so."""

    @property
    def place(self) -> Place: ...

    def begin(self) -> list[StreamEvent]: ...

    def end(self, status: Status) -> tuple[OutputItem, list[StreamEvent]]: ...


@dataclass(slots=True)
class Place:
    """Where an item is in its stream."""

    numbers: Numbers
    id: str
    output_index: int

    def added(self, item: OutputItem) -> StreamEvent:
        return self.numbers.say(ItemAdded, output_index=self.output_index, item=item)

    def done(self, item: OutputItem) -> StreamEvent:
        return self.numbers.say(ItemDone, output_index=self.output_index, item=item)

    def inside(self, kind: type[EventT], **fields: Any) -> EventT:
        return self.numbers.say(kind, output_index=self.output_index, item_id=self.id, **fields)

    def in_part(self, kind: type[EventT], **fields: Any) -> EventT:
        return self.inside(kind, content_index=0, **fields)


@dataclass(slots=True)
class _OpenMessage:
    place: Place
    texts: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)

    def begin(self) -> list[StreamEvent]:
        item = OutputMessage(self.place.id, "in_progress", ())
        return [self.place.added(item), self.place.in_part(PartAdded, part=OutputText(""))]

    def push(self, text: str, tokens: tuple[TokenLogprob, ...]) -> list[StreamEvent]:
        logprobs = to_logprobs(tokens)
        self.texts.append(text)
        self.logprobs += logprobs
        return [self.place.in_part(TextDelta, delta=text, logprobs=logprobs)]

    def end(self, status: Status) -> tuple[OutputItem, list[StreamEvent]]:
        part = OutputText("".join(self.texts), tuple(self.logprobs))
        item = OutputMessage(self.place.id, status, (part,))
        return item, [
            self.place.in_part(TextDone, text=part.text, logprobs=part.logprobs),
            self.place.in_part(PartDone, part=part),
            self.place.done(item),
        ]


@dataclass(slots=True)
class _OpenReasoning:
    place: Place
    texts: list[str] = field(default_factory=list)

    def begin(self) -> list[StreamEvent]:
        item = Reasoning(self.place.id, "in_progress", ())
        return [self.place.added(item), self.place.in_part(PartAdded, part=ReasoningText(""))]

    def push(self, text: str) -> list[StreamEvent]:
        self.texts.append(text)
        return [self.place.in_part(ReasoningTextDelta, delta=text)]

    def end(self, status: Status) -> tuple[OutputItem, list[StreamEvent]]:
        part = ReasoningText("".join(self.texts))
        item = Reasoning(self.place.id, status, (part,))
        return item, [
            self.place.in_part(ReasoningDone, text=part.text),
            self.place.in_part(PartDone, part=part),
            self.place.done(item),
        ]


@dataclass(slots=True)
class _OpenCall:
    place: Place
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def begin(self) -> list[StreamEvent]:
        return [self.place.added(self._to_item("in_progress"))]

    def push(self, text: str) -> list[StreamEvent]:
        self.arguments.append(text)
        return [self.place.inside(ArgumentsDelta, delta=text)]

    def end(self, status: Status) -> tuple[OutputItem, list[StreamEvent]]:
        item = self._to_item(status)
        done = self.place.inside(ArgumentsDone, name=item.name, arguments=item.arguments)
        return item, [done, self.place.done(item)]

    def _to_item(self, status: Status) -> FunctionCall:
        text = "".join(self.arguments)
        return FunctionCall(self.place.id, self.call_id, self.name, text, status)


class Output:
    """The items of one response. `make_id`: a new id for an item, with that prefix."""

    def __init__(self, numbers: Numbers, make_id: Callable[[str], str]) -> None:
        self._numbers = numbers
        self._make_id = make_id
        self._open: _Open | None = None
        self._begun = 0
        self._done: dict[int, OutputItem] = {}

    @property
    def items(self) -> tuple[OutputItem, ...]:
        """Those that are complete."""
        return tuple(item for _, item in sorted(self._done.items()))

    def start(self) -> list[StreamEvent]:
        """What comes before all that the model says."""
        return []

    @property
    def reasoning(self) -> str:
        """All that was thought."""
        texts = (item.content[0].text for item in self.items if isinstance(item, Reasoning))
        return "".join(texts)

    def take(self, event: Event | ActEvent) -> list[StreamEvent]:
        """The next event of the generation, but for its end."""
        match event:
            case MessageDelta(text, logprobs):
                return self._say(text, logprobs)
            case ReasoningDelta(text):
                return self._think(text)
            case ToolCallStart(_, id, name):
                call = _OpenCall(self._place("fc"), id, name)
                return self._begin(call)
            case ToolCallArguments(_, text):
                assert isinstance(self._open, _OpenCall), "arguments belong to the call before"
                return self._open.push(text)
            case ToolCallFailed(_, text):
                return [*self._give_up(), *self._say(text, ())]
        return []

    def end(self, status: Status) -> list[StreamEvent]:
        """The generation has ended; `status` is that of the item it ended in. An answer without
        anything is an empty message."""
        events = [] if self._open or self.items else self._say("", (), even_empty=True)
        return [*events, *self._close(status)]

    def _say(
        self, text: str, logprobs: tuple[TokenLogprob, ...], *, even_empty: bool = False
    ) -> list[StreamEvent]:
        if isinstance(self._open, _OpenMessage):
            return self._open.push(text, logprobs)
        # Without text, the probabilities are those of markup, of a call perhaps that goes on.
        if not text and not even_empty:
            return []
        message = _OpenMessage(self._place("msg"))
        begun = self._begin(message)
        return [*begun, *message.push(text, logprobs)] if text else begun

    def _think(self, text: str) -> list[StreamEvent]:
        if isinstance(self._open, _OpenReasoning):
            return self._open.push(text)
        if not text:
            return []
        reasoning = _OpenReasoning(self._place("rs"))
        return [*self._begin(reasoning), *reasoning.push(text)]

    def _begin(self, item: _Open) -> list[StreamEvent]:
        events = self._close("completed")
        self._open = item
        return [*events, *item.begin()]

    def _close(self, status: Status) -> list[StreamEvent]:
        if self._open is None:
            return []
        item, events = self._open.end(status)
        self._done[self._open.place.output_index] = item
        self._open = None
        return events

    def _give_up(self) -> list[StreamEvent]:
        """The call that began is none: its events end, and it is no item of the response."""
        if not isinstance(self._open, _OpenCall):
            return []
        _, events = self._open.end("incomplete")
        self._open = None
        return events

    def _place(self, prefix: str) -> Place:
        place = Place(self._numbers, self._make_id(prefix), self._begun)
        self._begun += 1
        return place
