"""Generations as Anthropic's bytes: the whole message, or the events of a stream. It knows neither
pool nor HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lmrun.api.anthropic.answers.blocks import BlockWriter, collect
from lmrun.api.anthropic.answers.bodies import (
    BlockEvent,
    Message,
    MessageDeltaEvent,
    MessageStartEvent,
    MessageStopEvent,
    MessageUsage,
    PingEvent,
    StreamEvent,
    to_delta_usage,
    to_stop,
    to_usage,
)
from lmrun.api.sse import to_named_event
from lmrun.chat.events import ChatEnd, Event, PromptProgress

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Style:
    """What a request says about its answer's look. `held`: tools whose calls are streamed whole."""

    stop_sequences: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    hides_thoughts: bool = False


class MessageStream:
    """Writes one answer as a stream. `id`: of the message."""

    def __init__(self, id: str, model: str, style: Style) -> None:
        self._id = id
        self._model = model
        self._style = style
        self._blocks = BlockWriter(
            holds=style.held.__contains__, hides_thoughts=style.hides_thoughts
        )
        self._has_started = False

    def take(self, event: Event) -> bytes:
        """The next event's bytes; the first one's begin the message, the last one's end it."""
        if not self._has_started:
            self._has_started = True
            return self._start(event) + (
                b"" if isinstance(event, PromptProgress) else self._take(event)
            )
        return self._take(event)

    def _start(self, event: Event) -> bytes:
        # What of the prompt was cached is known, and told, only at the end.
        total = event.total if isinstance(event, PromptProgress) else 0
        usage = MessageUsage(total, 0, 0)
        return write([MessageStartEvent(Message(self._id, self._model, (), None, None, usage))])

    def _take(self, event: Event) -> bytes:
        if isinstance(event, PromptProgress):
            return write([PingEvent()])
        if isinstance(event, ChatEnd):
            stop = to_stop(event, self._style.stop_sequences)
            end = MessageDeltaEvent(stop, to_delta_usage(event.usage))
            return write([*self._blocks.finish(), end, MessageStopEvent()])
        return write(self._blocks.take(event))


class WholeMessage:
    """Collects one answer. Grows by `take`."""

    def __init__(self, id: str, model: str, style: Style) -> None:
        self._id = id
        self._model = model
        self._style = style
        # A call that turns out to be none never was one.
        self._writer = BlockWriter(holds=lambda name: True, hides_thoughts=style.hides_thoughts)
        self._blocks: list[BlockEvent] = []
        self._end: ChatEnd | None = None

    def take(self, event: Event) -> None:
        """The next event."""
        if isinstance(event, ChatEnd):
            self._end = event
            self._blocks += self._writer.finish()
        else:
            self._blocks += self._writer.take(event)

    def finish(self) -> Message | None:
        """The message; None when its end is missing."""
        if self._end is None:
            return None
        stop = to_stop(self._end, self._style.stop_sequences)
        content = collect(self._blocks)
        usage = to_usage(self._end.usage)
        return Message(self._id, self._model, content, stop.stop_reason, stop.stop_sequence, usage)


def write(events: Sequence[StreamEvent]) -> bytes:
    """Server-sent events, each called what its type is."""
    return b"".join(to_named_event(_name(event), _encode(event)) for event in events)


def _name(event: StreamEvent) -> str:
    return str(event.__struct_config__.tag)
