"""A chat's answer: its items in their order, and its statistics.

Format: lmstudio-ai/docs, `1_developer/2_rest/chat.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from lmrun.api.acting.kit import Kit
from lmrun.api.lmstudio.v1.calls import (
    CallRecord,
    InvalidCallOutput,
    ProviderInfo,
    ToolCallOutput,
    no_such_tool,
)
from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.chat.messages import Message
from lmrun.tools.act.events import ActEnd, ActEvent, CallFailed, CallSucceeded, RoundStart


class MessageOutput(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """What the model said."""

    content: str


class ReasoningOutput(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """What it thought."""

    content: str


Kind = Literal["message", "reasoning"]

_OUTPUTS: dict[Kind, type[MessageOutput] | type[ReasoningOutput]] = {
    "message": MessageOutput,
    "reasoning": ReasoningOutput,
}


Output = MessageOutput | ReasoningOutput | ToolCallOutput | InvalidCallOutput


class ChatStats(msgspec.Struct, frozen=True):
    """Counts in tokens, times in seconds. `total_output_tokens` and `reasoning_output_tokens` are
    null in an answer that failed halfway: nobody has counted it. `model_load_time_seconds`: how
    long the request waited for the model to be loaded."""

    input_tokens: int
    total_output_tokens: int | None
    reasoning_output_tokens: int | None
    tokens_per_second: float
    time_to_first_token_seconds: float
    model_load_time_seconds: float | UnsetType = UNSET


class ChatResult(msgspec.Struct, frozen=True):
    """`response_id`: for continuing the chat, if it was stored."""

    model_instance_id: str
    output: tuple[Output, ...]
    stats: ChatStats
    response_id: str | UnsetType = UNSET


@dataclass(slots=True)
class _Text:
    kind: Kind
    pieces: list[str]

    def to_output(self) -> Output:
        return _OUTPUTS[self.kind]("".join(self.pieces))


@dataclass(slots=True)
class Transcript:
    """What was said and done so far, in order. Grows by `take`. `kit`: the chat's tools, None where
    it has none."""

    kit: Kit[ProviderInfo] | None = None
    prompt_tokens: int = 0
    end: ChatEnd | None = None
    _items: list[_Text | CallRecord] = field(default_factory=list)
    _calls: dict[int, CallRecord] = field(default_factory=dict)

    def take(self, event: Event | ActEvent) -> None:
        """The next event."""
        match event:
            case PromptProgress(_, total):
                self.prompt_tokens = total
            case ReasoningDelta(text):
                self._say("reasoning", text)
            case MessageDelta(text):
                self._say("message", text)
            case ActEnd(_, stop_reason, _, _, usage):
                self.end = ChatEnd(stop_reason, usage)
            case ChatEnd():
                self.end = event
            case _:
                self._take_call(event)

    def _take_call(self, event: Event | ActEvent) -> None:
        match event:
            case RoundStart():
                self._calls.clear()
            case ToolCallStart(index, _, name):
                offer = self.kit.offers.get(name) if self.kit is not None else None
                self._calls[index] = CallRecord(name, offer)
                if self.kit is not None:
                    self._items.append(self._calls[index])
            case ToolCallArguments(index, text):
                self._calls[index].texts.append(text)
            case ToolCallFailed(index, text):
                del self._calls[index]
                self._say("message", text)
            case CallSucceeded(index) | CallFailed(index):
                self._calls[index].result = event

    def find_call(self, index: int) -> CallRecord | None:
        """The call of that index in this round."""
        return self._calls.get(index)

    @property
    def reasoning(self) -> str:
        return self._join("reasoning")

    @property
    def invalid_calls(self) -> tuple[InvalidCallOutput, ...]:
        """Every call, in a chat without tools."""
        if self.kit is not None:
            return ()
        return tuple(no_such_tool(call.name) for _, call in sorted(self._calls.items()))

    @property
    def output(self) -> tuple[Output, ...]:
        items = tuple(item for it in self._items if (item := it.to_output()) is not None)
        return (*items, *self.invalid_calls)

    def to_message(self) -> Message:
        """As a later request sees it."""
        return Message("assistant", self._join("message"), reasoning=self.reasoning or None)

    def _say(self, kind: Kind, text: str) -> None:
        if not text:
            return
        last = self._items[-1] if self._items else None
        if not isinstance(last, _Text) or last.kind != kind:
            last = _Text(kind, [])
            self._items.append(last)
        last.pieces.append(text)

    def _join(self, wanted: str) -> str:
        texts = (it for it in self._items if isinstance(it, _Text) and it.kind == wanted)
        return "".join(piece for text in texts for piece in text.pieces)


class Pace(Protocol):
    """How long the parts of an answer took."""

    @property
    def time_to_first_token_s(self) -> float: ...

    def tokens_per_second(self, tokens: int) -> float: ...


def make_stats(
    transcript: Transcript, timing: Pace, reasoning_tokens: int | None, load_s: float | None
) -> ChatStats:
    """`reasoning_tokens`: of the reasoning's text, which may be more than the model wrote; None
    while they have not been counted. `load_s`: None when the model was loaded already."""
    usage = transcript.end.usage if transcript.end is not None else None
    if usage is not None and reasoning_tokens is not None:
        reasoning_tokens = min(reasoning_tokens, usage.completion_tokens)
    return ChatStats(
        input_tokens=usage.prompt_tokens if usage else transcript.prompt_tokens,
        total_output_tokens=usage.completion_tokens if usage else None,
        reasoning_output_tokens=reasoning_tokens,
        tokens_per_second=timing.tokens_per_second(usage.completion_tokens if usage else 0),
        time_to_first_token_seconds=timing.time_to_first_token_s,
        model_load_time_seconds=UNSET if load_s is None else load_s,
    )
