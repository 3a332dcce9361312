"""The one event vocabulary inside the house: LM Studio's stream names. It knows no dialect."""

from __future__ import annotations

from typing import Literal

import msgspec

StopReason = Literal[
    "eosFound",
    "stopStringFound",
    "maxPredictedTokensReached",
    "contextLengthReached",
]
"""Why a generation ended, in LM Studio's words."""


class Usage(msgspec.Struct, frozen=True):
    """Counts of one generation, in tokens. `cached` is the part of the prompt not recomputed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class PromptProgress(msgspec.Struct, frozen=True, tag="prompt_processing.progress"):
    """`processed` of `total` prompt tokens are in the context."""

    processed: int
    total: int


class MessageDelta(msgspec.Struct, frozen=True, tag="message.delta"):
    """The next piece of text: complete characters, never part of a stop string."""

    text: str


class ChatEnd(msgspec.Struct, frozen=True, tag="chat.end"):
    """The last event of a generation that was not cancelled and did not fail."""

    stop_reason: StopReason
    usage: Usage


Event = PromptProgress | MessageDelta | ChatEnd
