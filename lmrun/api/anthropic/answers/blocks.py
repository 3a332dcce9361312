"""From the events of an answer to content blocks, one after the other; and whole ones. Pure.

A stream gives the block events as they are; a whole answer is what they add up to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from pydantic_core import from_json

from lmrun.api.anthropic.answers.bodies import (
    BlockDeltaEvent,
    BlockEvent,
    BlockStartEvent,
    BlockStopEvent,
    Content,
    InputJsonDelta,
    SignatureDelta,
    TextContent,
    TextDelta,
    ThinkingContent,
    ThinkingDelta,
    ToolUseContent,
)
from lmrun.chat.events import (
    Event,
    MessageDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)

SIGNATURE = "unsigned"
"""Clients want one with every thought and send it back; no check would tell more than the text."""

_EMPTY = msgspec.Raw(b"{}")


class BlockWriter:
    """Writes one answer. `holds`: whether the call of a tool is given only once it is complete, and
    never if it turns out to be none. `hides_thoughts`: blocks of thought stay empty."""

    def __init__(self, *, holds: Callable[[str], bool], hides_thoughts: bool = False) -> None:
        self._holds = holds
        self._hides_thoughts = hides_thoughts
        self._index = -1
        self._open: Content | None = None
        self._held: tuple[ToolUseContent, list[str]] | None = None

    def take(self, event: Event) -> list[BlockEvent]:
        """What is certain after `event`."""
        match event:
            case MessageDelta(text):
                return self._say(text)
            case ReasoningDelta(text):
                return self._think(text)
            case ToolCallStart(_, id, name):
                return self._call(ToolUseContent(id, name, _EMPTY))
            case ToolCallArguments(_, text):
                return self._argue(text)
            case ToolCallFailed(_, text):
                self._held = None
                return [*self.finish(), *self._say(text)]
            case _:
                return []

    def finish(self) -> list[BlockEvent]:
        """The end of the block that is open, if there is one."""
        if self._held is not None:
            call, arguments = self._held
            self._held = None
            return [*self._start(call), *self._argue("".join(arguments)), *self.finish()]
        events: list[BlockEvent] = []
        if isinstance(self._open, ThinkingContent):
            events.append(BlockDeltaEvent(self._index, SignatureDelta(SIGNATURE)))
        if self._open is not None:
            events.append(BlockStopEvent(self._index))
        self._open = None
        return events

    def _say(self, text: str) -> list[BlockEvent]:
        if not text:
            return []
        return [*self._ensure(TextContent("")), BlockDeltaEvent(self._index, TextDelta(text))]

    def _think(self, text: str) -> list[BlockEvent]:
        if not text:
            return []
        events = self._ensure(ThinkingContent("", ""))
        if not self._hides_thoughts:
            events.append(BlockDeltaEvent(self._index, ThinkingDelta(text)))
        return events

    def _call(self, call: ToolUseContent) -> list[BlockEvent]:
        events = self.finish()
        if self._holds(call.name):
            self._held = (call, [])
            return events
        return [*events, *self._start(call)]

    def _argue(self, text: str) -> list[BlockEvent]:
        if self._held is not None:
            self._held[1].append(text)
            return []
        return [BlockDeltaEvent(self._index, InputJsonDelta(text))]

    def _ensure(self, block: Content) -> list[BlockEvent]:
        """A block of this kind is open."""
        if type(self._open) is type(block):
            return []
        return [*self.finish(), *self._start(block)]

    def _start(self, block: Content) -> list[BlockEvent]:
        self._index += 1
        self._open = block
        return [BlockStartEvent(self._index, block)]


def collect(events: Iterable[BlockEvent]) -> tuple[Content, ...]:
    """The whole blocks."""
    begun: list[tuple[Content, list[str]]] = []
    for event in events:
        if isinstance(event, BlockStartEvent):
            begun.append((event.content_block, []))
        elif isinstance(event, BlockDeltaEvent):
            begun[event.index][1].append(_show(event))
    return tuple(_complete(block, "".join(pieces)) for block, pieces in begun)


def _show(event: BlockDeltaEvent) -> str:
    match event.delta:
        case TextDelta(text):
            return text
        case ThinkingDelta(thinking):
            return thinking
        case InputJsonDelta(partial_json):
            return partial_json
        case SignatureDelta():
            return ""


def _complete(block: Content, text: str) -> Content:
    match block:
        case TextContent():
            return TextContent(text)
        case ThinkingContent():
            return ThinkingContent(text, SIGNATURE)
        case ToolUseContent(id, name):
            return ToolUseContent(id, name, to_input(text))


def to_input(arguments: str) -> msgspec.Raw:
    """The input of a call: the object that its arguments are, number for number. Of arguments that
    were cut off, as much as is certain, as Anthropic's client makes of a stream."""
    if _is_object(arguments):
        return msgspec.Raw(arguments.encode())
    try:
        value: Any = from_json(arguments, allow_partial=True)
    except ValueError:
        return _EMPTY
    return msgspec.Raw(json.dumps(value).encode()) if isinstance(value, dict) else _EMPTY


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
