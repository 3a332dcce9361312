"""The bodies of Anthropic's answers, whole and as the events of a stream, as types. It knows no
generation."""

from __future__ import annotations

from typing import Literal

import msgspec

from lmrun.chat.events import ChatEnd, StopReason
from lmrun.chat.events import Usage as ChatUsage

MessageStop = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]

_STOPS: dict[StopReason, MessageStop] = {
    "eosFound": "end_turn",
    "stopStringFound": "end_turn",
    "maxPredictedTokensReached": "max_tokens",
    "contextLengthReached": "model_context_window_exceeded",
    "toolCalls": "tool_use",
}


class TextContent(msgspec.Struct, frozen=True, tag="text"):
    text: str


class ThinkingContent(msgspec.Struct, frozen=True, tag="thinking"):
    """`signature`: clients keep it; nothing here is signed."""

    thinking: str
    signature: str


class ToolUseContent(msgspec.Struct, frozen=True, tag="tool_use"):
    """`input`: an object; cut off where the answer was."""

    id: str
    name: str
    input: msgspec.Raw


Content = TextContent | ThinkingContent | ToolUseContent


class MessageUsage(msgspec.Struct, frozen=True):
    """The three input counts make up the prompt: what was computed, what was computed for a cache
    that is paid for (nothing is), and what was found in the cache."""

    input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    service_tier: Literal["standard"] = "standard"


class DeltaUsage(msgspec.Struct, frozen=True):
    """The same at a stream's end: totals, not differences."""

    input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0


class Message(msgspec.Struct, frozen=True, tag="message"):
    """`stop_reason`: null only where a stream begins. `stop_sequence`: which one, if one of the
    request's ended it."""

    id: str
    model: str
    content: tuple[Content, ...]
    stop_reason: MessageStop | None
    stop_sequence: str | None
    usage: MessageUsage
    role: Literal["assistant"] = "assistant"


class TokenCount(msgspec.Struct, frozen=True):
    """Of the prompt that the model's template makes of the messages and tools."""

    input_tokens: int


class MessageStartEvent(msgspec.Struct, frozen=True, tag="message_start"):
    message: Message


class PingEvent(msgspec.Struct, frozen=True, tag="ping"):
    """The prompt is still being read."""


class BlockStartEvent(msgspec.Struct, frozen=True, tag="content_block_start"):
    index: int
    content_block: Content


class TextDelta(msgspec.Struct, frozen=True, tag="text_delta"):
    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, tag="thinking_delta"):
    thinking: str


class SignatureDelta(msgspec.Struct, frozen=True, tag="signature_delta"):
    signature: str


class InputJsonDelta(msgspec.Struct, frozen=True, tag="input_json_delta"):
    partial_json: str


class BlockDeltaEvent(msgspec.Struct, frozen=True, tag="content_block_delta"):
    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class BlockStopEvent(msgspec.Struct, frozen=True, tag="content_block_stop"):
    index: int


class Stop(msgspec.Struct, frozen=True):
    stop_reason: MessageStop
    stop_sequence: str | None


class MessageDeltaEvent(msgspec.Struct, frozen=True, tag="message_delta"):
    delta: Stop
    usage: DeltaUsage


class MessageStopEvent(msgspec.Struct, frozen=True, tag="message_stop"):
    pass


BlockEvent = BlockStartEvent | BlockDeltaEvent | BlockStopEvent

StreamEvent = MessageStartEvent | PingEvent | BlockEvent | MessageDeltaEvent | MessageStopEvent
"""What a stream consists of, a failure's last event apart."""


def to_stop(end: ChatEnd, stop_sequences: tuple[str, ...]) -> Stop:
    """Why it ended. A stop string of the instance's own is the end of its turn."""
    if end.stop_reason == "stopStringFound" and end.stop_string in stop_sequences:
        return Stop("stop_sequence", end.stop_string)
    return Stop(_STOPS[end.stop_reason], None)


def to_usage(usage: ChatUsage) -> MessageUsage:
    computed = usage.prompt_tokens - usage.cached_tokens
    return MessageUsage(computed, usage.cached_tokens, usage.completion_tokens)


def to_delta_usage(usage: ChatUsage) -> DeltaUsage:
    computed = usage.prompt_tokens - usage.cached_tokens
    return DeltaUsage(computed, usage.cached_tokens, usage.completion_tokens)
