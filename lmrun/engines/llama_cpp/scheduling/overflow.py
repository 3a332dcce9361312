"""What stays of a sequence that has outgrown its context. Pure: it knows no cache and no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmrun.errors import ContextOverflow

Tokens = NDArray[np.int32]

_FILLED = 0.5
"""Share of the room behind the kept beginning that a shift leaves filled: shifts are rare then,
since every one of them computes what it leaves again."""


def fit_prompt(prompt: Tokens, context_length: int, keep: int, answer: int) -> Tokens:
    """A prompt that leaves room for an answer of `answer` tokens, or of a quarter of the context.

    Its first `keep` tokens and its end stay. Raises ContextOverflow when `keep` alone is too long.
    """
    reserve = min(answer, context_length // 4) if answer >= 0 else context_length // 4
    most = context_length - max(reserve, 1)
    if len(prompt) <= most:
        return prompt
    if keep >= most:
        raise ContextOverflow(
            f"The system prompt and the first user message have {keep} tokens, which "
            f"truncateMiddle keeps; the context of {context_length} has no room beside them.",
            param="prompt",
            hint="Shorten them, use rollingWindow, or raise the model's context_length.",
        )
    return join_ends(prompt, keep, most)


def shift(tokens: Tokens, context_length: int, keep: int) -> Tokens:
    """What a full sequence goes on with: its first `keep` tokens and its newest ones.

    All of `keep` stays: `fit_prompt` has left at least a quarter of the context beside it, wherever
    an answer may become long enough to be shifted.
    """
    keep = min(keep, context_length - 2)
    return join_ends(tokens, keep, keep + max(1, int((context_length - keep) * _FILLED)))


def join_ends(tokens: Tokens, keep: int, total: int) -> Tokens:
    """`total` tokens: the first `keep` and the last of the rest."""
    return np.concatenate([tokens[:keep], tokens[len(tokens) - (total - keep) :]])
