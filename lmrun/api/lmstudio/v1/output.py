"""A chat's answer: its items in their order, and its statistics.

Format: lmstudio-ai/docs, `1_developer/2_rest/chat.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from lmrun.api.lmstudio.timing import Timing
from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.chat.messages import Message


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


class InvalidCallMetadata(msgspec.Struct, frozen=True):
    tool_name: str
    type: Literal["invalid_name"] = "invalid_name"


class InvalidCallOutput(msgspec.Struct, frozen=True, tag_field="type", tag="invalid_tool_call"):
    """A call of a tool that there is not: no chat here has any."""

    reason: str
    metadata: InvalidCallMetadata


Output = MessageOutput | ReasoningOutput | InvalidCallOutput


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
class Transcript:
    """What was said so far, in order. Grows by `take`."""

    texts: list[tuple[Kind, list[str]]] = field(default_factory=list)
    prompt_tokens: int = 0
    end: ChatEnd | None = None
    _calls: dict[int, str] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """The next event."""
        match event:
            case PromptProgress(_, total):
                self.prompt_tokens = total
            case ReasoningDelta(text):
                self._say("reasoning", text)
            case MessageDelta(text):
                self._say("message", text)
            case ToolCallStart(index, _, name):
                self._calls[index] = name
            case ToolCallFailed(index, text):
                del self._calls[index]
                self._say("message", text)
            case ChatEnd():
                self.end = event

    @property
    def reasoning(self) -> str:
        return self._join("reasoning")

    @property
    def invalid_calls(self) -> tuple[InvalidCallOutput, ...]:
        """Every call, since there are no tools."""
        return tuple(
            InvalidCallOutput(f"Cannot find tool with name {name}.", InvalidCallMetadata(name))
            for _, name in sorted(self._calls.items())
        )

    @property
    def output(self) -> tuple[Output, ...]:
        texts = tuple(_OUTPUTS[kind]("".join(pieces)) for kind, pieces in self.texts)
        return (*texts, *self.invalid_calls)

    def to_message(self) -> Message:
        """As a later request sees it."""
        return Message("assistant", self._join("message"), reasoning=self.reasoning or None)

    def _say(self, kind: Kind, text: str) -> None:
        if not text:
            return
        if not self.texts or self.texts[-1][0] != kind:
            self.texts.append((kind, []))
        self.texts[-1][1].append(text)

    def _join(self, wanted: str) -> str:
        return "".join(piece for kind, pieces in self.texts if kind == wanted for piece in pieces)


def make_stats(
    transcript: Transcript, timing: Timing, reasoning_tokens: int | None, load_s: float | None
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
