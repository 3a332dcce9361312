"""The one event vocabulary inside the house: LM Studio's stream names. It knows no dialect."""

from __future__ import annotations

from typing import Literal

import msgspec

StopReason = Literal[
    "eosFound",
    "stopStringFound",
    "maxPredictedTokensReached",
    "contextLengthReached",
    "toolCalls",
]
"""Why a generation ended, in LM Studio's words. `toolCalls`: it asks for tools to be called; a
worker never says so, who reads its text does."""


class Usage(msgspec.Struct, frozen=True):
    """Counts of one generation, in tokens. `cached` is the part of the prompt not recomputed.

    `drafted`: guessed by speculation, of which `accepted` were right; both 0 without it.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token's natural log probability under the model, before any sampling setting.

    `piece`: its bytes, special tokens rendered. `logprob`: None for a prompt's first token.
    `offset`: characters of the given text before it. `top`: the likeliest, likeliest first.
    """

    piece: bytes
    logprob: float | None
    offset: int = 0
    top: tuple[TokenLogprob, ...] = ()


class PromptProgress(msgspec.Struct, frozen=True, tag="prompt_processing.progress"):
    """`processed` of `total` prompt tokens are in the context."""

    processed: int
    total: int


class MessageDelta(msgspec.Struct, frozen=True, omit_defaults=True, tag="message.delta"):
    """The next piece of text: complete characters, never part of a stop string.

    `logprobs`: of the tokens whose text begins here, if they were asked for; their text may go on
    in the next delta, or be nothing.
    """

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class PromptText(msgspec.Struct, frozen=True, tag="prompt.text"):
    """What a worker's template made of a conversation: all of it, or its last characters only.

    The first event of a generation for which it was asked; it stays inside the house.
    """

    text: str
    is_whole: bool


class ReasoningDelta(msgspec.Struct, frozen=True, omit_defaults=True, tag="reasoning.delta"):
    """The next piece of what the model thinks before, or between, what it says."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class ToolCallStart(msgspec.Struct, frozen=True, tag="tool_call.start"):
    """The model calls a tool; its arguments follow. `index`: 0 for an answer's first call."""

    index: int
    id: str
    name: str


class ToolCallArguments(msgspec.Struct, frozen=True, tag="tool_call.arguments"):
    """The next piece of a call's arguments, JSON text all together."""

    index: int
    text: str


class ToolCallFailed(msgspec.Struct, frozen=True, tag="tool_call.failure"):
    """What began as a call turned out to be none: `text`, the whole of what the model wrote for
    it, is part of the message instead, and no call of this index is left."""

    index: int
    text: str


class ChatEnd(msgspec.Struct, frozen=True, omit_defaults=True, tag="chat.end"):
    """The last event of a generation that was not cancelled and did not fail.

    `stop_string`: the one that ended it, if one did.
    """

    stop_reason: StopReason
    usage: Usage
    stop_string: str | None = None


WorkerEvent = PromptText | PromptProgress | MessageDelta | ChatEnd
"""What a worker says: text as the model wrote it."""

Event = (
    PromptProgress
    | ReasoningDelta
    | MessageDelta
    | ToolCallStart
    | ToolCallArguments
    | ToolCallFailed
    | ChatEnd
)
"""What a lease says: reasoning, text and tool calls apart."""
