"""Log probabilities in OpenAI's two notations, chat's and that of completions, as types."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lmrun.chat.events import TokenLogprob

LEAST_LOGPROB = -9999.0
"""What OpenAI says for "very unlikely"; JSON has no infinity."""


class ChatTopLogprob(msgspec.Struct, frozen=True):
    """`bytes`: the token's own, since part of a character has no text."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class ChatTokenLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: tuple[ChatTopLogprob, ...]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """Of the tokens whose text begins in this answer or chunk."""

    content: tuple[ChatTokenLogprob, ...]
    refusal: None = None


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """One entry per token. `text_offset`: characters of the choice's text before it.

    A prompt's first token has no log probability. `top_logprobs`: null when none were asked for.
    """

    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]
    top_logprobs: tuple[dict[str, float] | None, ...] | None
    text_offset: tuple[int, ...]


def to_chat_logprobs(tokens: Sequence[TokenLogprob]) -> ChatLogprobs | None:
    """None for no tokens. Those without a log probability have no place in this notation."""
    if not tokens:
        return None
    return ChatLogprobs(
        tuple(
            ChatTokenLogprob(
                _to_text(token.piece),
                _clamp(token.logprob),
                tuple(token.piece),
                tuple(map(_to_top, token.top)),
            )
            for token in tokens
            if token.logprob is not None
        )
    )


def to_completion_logprobs(tokens: Sequence[TokenLogprob]) -> CompletionLogprobs | None:
    """None for no tokens."""
    if not tokens:
        return None
    has_top = any(token.top for token in tokens)
    return CompletionLogprobs(
        tuple(_to_name(token.piece) for token in tokens),
        tuple(None if token.logprob is None else _clamp(token.logprob) for token in tokens),
        tuple(map(_to_top_mapping, tokens)) if has_top else None,
        tuple(token.offset for token in tokens),
    )


def _to_top(token: TokenLogprob) -> ChatTopLogprob:
    return ChatTopLogprob(_to_text(token.piece), _clamp(token.logprob), tuple(token.piece))


def _to_top_mapping(token: TokenLogprob) -> dict[str, float] | None:
    """The likeliest tokens, and the chosen one if it is not among them, as OpenAI has it."""
    if token.logprob is None:
        return None
    top = {_to_name(each.piece): _clamp(each.logprob) for each in token.top}
    return top | {_to_name(token.piece): _clamp(token.logprob)}


def _clamp(logprob: float | None) -> float:
    return LEAST_LOGPROB if logprob is None else max(logprob, LEAST_LOGPROB)


def _to_text(piece: bytes) -> str:
    return piece.decode(errors="replace")


def _to_name(piece: bytes) -> str:
    r"""Part of a character is written `bytes:\xf0\x9f`: as U+FFFD, two would have one name."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
