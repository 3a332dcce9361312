"""The bodies of OpenAI's answers, whole and in chunks, as types. It knows no generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from lmrun.api.openai.answers.logprobs import ChatLogprobs, CompletionLogprobs
from lmrun.chat.events import StopReason
from lmrun.chat.events import Usage as ChatUsage

FinishReason = Literal["stop", "length", "tool_calls"]

FINISH_REASONS: dict[StopReason, FinishReason] = {
    "eosFound": "stop",
    "stopStringFound": "stop",
    "maxPredictedTokensReached": "length",
    "contextLengthReached": "length",
    "toolCalls": "tool_calls",
}


class PromptTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """Of the tokens that speculation guessed: how many the answer has, how many it has not."""

    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """`completion_tokens_details`: left out unless there was speculation."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails | msgspec.UnsetType = msgspec.UNSET


class CalledFunction(msgspec.Struct, frozen=True):
    """`arguments`: JSON text; cut off where the answer was."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class AssistantMessage(msgspec.Struct, frozen=True):
    """`content`: null when it only calls tools. The last two are left out when there are none."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: tuple[ToolCall, ...] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    message: AssistantMessage
    finish_reason: FinishReason
    index: int
    logprobs: ChatLogprobs | None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: Usage
    system_fingerprint: str | None
    object: Literal["chat.completion"] = "chat.completion"


class FunctionDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The name comes first, then the arguments in pieces."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """`index`: which of the answer's calls. `id` and `type` come with its name."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta | None = None


class ChatDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] | None = None


class ChatChunkChoice(msgspec.Struct, frozen=True):
    delta: ChatDelta
    index: int
    finish_reason: FinishReason | None = None
    logprobs: ChatLogprobs | None = None


class ChatCompletionChunk(msgspec.Struct, frozen=True):
    """`usage`: left out, or null in every chunk but the last when it was asked for."""

    id: str
    created: int
    model: str
    system_fingerprint: str | None
    choices: tuple[ChatChunkChoice, ...]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


class CompletionChoice(msgspec.Struct, frozen=True):
    text: str
    index: int
    finish_reason: FinishReason | None = None
    logprobs: CompletionLogprobs | None = None


class Completion(msgspec.Struct, frozen=True):
    """A whole completion, or a chunk of one: OpenAI has one type for both."""

    id: str
    created: int
    model: str
    choices: tuple[CompletionChoice, ...]
    system_fingerprint: str | None
    object: Literal["text_completion"] = "text_completion"
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


class Model(msgspec.Struct, frozen=True):
    """`created`: when the model's file was last changed, in seconds since 1970."""

    id: str
    created: int
    owned_by: str = "lmrun"
    object: Literal["model"] = "model"


class ModelList(msgspec.Struct, frozen=True):
    data: tuple[Model, ...]
    object: Literal["list"] = "list"


def to_usage(generations: Sequence[ChatUsage], prompts: int = 1) -> Usage:
    """Of all generations together, as many of each prompt, in the prompts' order. Those of one
    prompt share it: it counts once, as does what was cached of it for the first."""
    firsts = generations[:: len(generations) // prompts]
    prompt_tokens = sum(usage.prompt_tokens for usage in firsts)
    completion_tokens = sum(usage.completion_tokens for usage in generations)
    drafted = sum(usage.drafted_tokens for usage in generations)
    # Guesses behind a stop string may have been right, too: there are more than tokens then.
    accepted = sum(min(usage.accepted_tokens, usage.completion_tokens) for usage in generations)
    return Usage(
        prompt_tokens,
        completion_tokens,
        prompt_tokens + completion_tokens,
        PromptTokensDetails(sum(usage.cached_tokens for usage in firsts)),
        CompletionTokensDetails(accepted, drafted - accepted) if drafted else msgspec.UNSET,
    )
