"""The named events of a chat's stream, in the order that clients rely on. Pure.

Format: lmstudio-ai/docs, `1_developer/2_rest/streaming-events.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from lmrun.api.lmstudio.v1.calls import (
    CallRecord,
    InvalidCallMetadata,
    InvalidCallOutput,
    ProviderInfo,
)
from lmrun.api.lmstudio.v1.envelope import ErrorV1
from lmrun.api.lmstudio.v1.output import ChatResult, Transcript
from lmrun.api.sse import to_named_event
from lmrun.chat.events import (
    Event,
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.tools.act.events import ActEvent, CallFailed, CallSucceeded


class ChatStart(msgspec.Struct, frozen=True, tag_field="type", tag="chat.start"):
    model_instance_id: str


class ModelLoadStart(msgspec.Struct, frozen=True, tag_field="type", tag="model_load.start"):
    model_instance_id: str


class ModelLoadEnd(msgspec.Struct, frozen=True, tag_field="type", tag="model_load.end"):
    model_instance_id: str
    load_time_seconds: float


class PromptStart(msgspec.Struct, frozen=True, tag_field="type", tag="prompt_processing.start"):
    pass


class PromptDone(msgspec.Struct, frozen=True, tag_field="type", tag="prompt_processing.progress"):
    """`progress`: 0.0 to 1.0."""

    progress: float


class PromptEnd(msgspec.Struct, frozen=True, tag_field="type", tag="prompt_processing.end"):
    pass


class ReasoningStart(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning.start"):
    pass


class ReasoningPiece(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning.delta"):
    content: str


class ReasoningEnd(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning.end"):
    pass


class MessageStart(msgspec.Struct, frozen=True, tag_field="type", tag="message.start"):
    pass


class MessagePiece(msgspec.Struct, frozen=True, tag_field="type", tag="message.delta"):
    content: str


class MessageEnd(msgspec.Struct, frozen=True, tag_field="type", tag="message.end"):
    pass


class CallStart(msgspec.Struct, frozen=True, tag_field="type", tag="tool_call.start"):
    tool: str
    provider_info: ProviderInfo


class CallArguments(msgspec.Struct, frozen=True, tag_field="type", tag="tool_call.arguments"):
    """All of them, once they are whole."""

    tool: str
    arguments: dict[str, Any]
    provider_info: ProviderInfo


class CallSuccess(msgspec.Struct, frozen=True, tag_field="type", tag="tool_call.success"):
    """`output`: what the model reads."""

    tool: str
    arguments: dict[str, Any]
    output: str
    provider_info: ProviderInfo


class CallFailure(msgspec.Struct, frozen=True, tag_field="type", tag="tool_call.failure"):
    reason: str
    metadata: InvalidCallMetadata


class Failure(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    error: ErrorV1


class ChatDone(msgspec.Struct, frozen=True, tag_field="type", tag="chat.end"):
    result: ChatResult


StreamEvent = (
    ChatStart
    | ModelLoadStart
    | ModelLoadEnd
    | PromptStart
    | PromptDone
    | PromptEnd
    | ReasoningStart
    | ReasoningPiece
    | ReasoningEnd
    | MessageStart
    | MessagePiece
    | MessageEnd
    | CallStart
    | CallArguments
    | CallSuccess
    | CallFailure
    | Failure
    | ChatDone
)

Section = Literal["prompt", "reasoning", "message"]

_STARTS: dict[Section, StreamEvent] = {
    "prompt": PromptStart(),
    "reasoning": ReasoningStart(),
    "message": MessageStart(),
}
_ENDS: dict[Section, StreamEvent] = {
    "prompt": PromptEnd(),
    "reasoning": ReasoningEnd(),
    "message": MessageEnd(),
}


class Sections:
    """Sorts an answer's events into sections, each with its start and its end, and calls between
    them. `transcript`: has taken each event before."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._open: Section | None = None

    def take(self, event: Event | ActEvent) -> Iterator[StreamEvent]:
        """What a client hears of `event`."""
        match event:
            case PromptProgress(processed, total):
                yield from self._enter("prompt")
                yield PromptDone(processed / total if total else 1.0)
            case ReasoningDelta(text) if text:
                yield from self._enter("reasoning")
                yield ReasoningPiece(text)
            case MessageDelta(text) | ToolCallFailed(_, text) if text:
                yield from self._enter("message")
                yield MessagePiece(text)
            case ToolCallStart(index) if self._transcript.kit is not None:
                yield from self.close()
                yield from _start(self._transcript.find_call(index))
            case ToolCallArguments(index, text) if text.rstrip().endswith("}"):
                yield from _tell_arguments(self._transcript.find_call(index))
            case CallSucceeded(index) | CallFailed(index):
                yield from _end(self._transcript.find_call(index))

    def close(self) -> Iterator[StreamEvent]:
        """The end of what is open."""
        if self._open is not None:
            yield _ENDS[self._open]
        self._open = None

    def _enter(self, section: Section) -> Iterator[StreamEvent]:
        if self._open == section:
            return
        yield from self.close()
        self._open = section
        yield _STARTS[section]


def _start(call: CallRecord | None) -> Iterator[StreamEvent]:
    if call is not None and call.offer is not None:
        yield CallStart(call.tool, call.offer.source.info)


def _tell_arguments(call: CallRecord | None) -> Iterator[StreamEvent]:
    """An object that is whole is not part of a longer one: this happens once a call."""
    if call is not None and call.offer is not None and (arguments := call.arguments) is not None:
        yield CallArguments(call.tool, arguments, call.offer.source.info)


def _end(call: CallRecord | None) -> Iterator[StreamEvent]:
    if call is None or call.result is None:
        return
    if call.offer is None or isinstance(call.result, CallFailed):
        yield CallFailure(call.result.text, call.to_metadata())
    else:
        info = call.offer.source.info
        yield CallSuccess(call.tool, call.arguments or {}, call.result.text, info)


def to_failure(call: InvalidCallOutput) -> StreamEvent:
    return CallFailure(call.reason, call.metadata)


def to_sse(event: StreamEvent) -> bytes:
    return to_named_event(str(event.__struct_config__.tag), msgspec.json.encode(event))
