"""One generation on its way: its tokens, and how many of them the KV cache holds.

It knows neither the batch nor other sequences.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lmrun.engines.base import FinishReason, ImageSpan, SequenceSpec, SequenceStats
from lmrun.engines.llama_cpp.sampling.sampler import Sampler
from lmrun.engines.llama_cpp.scheduling.overflow import fit_prompt, shift
from lmrun.engines.llama_cpp.speculation.base import Drafter
from lmrun.errors import UnsupportedParameter

NO_SLOT = -1
_ENDLESS = 2**62
_MARGIN = 64


Namespace = tuple[tuple[str, float], ...]
"""Adapters with their scales, by name: sequences that differ in it share no decode."""


def count_extra_cells(images: Iterable[ImageSpan]) -> int:
    """KV cells that images fill beyond their positions: with M-RoPE they do."""
    return sum(image.handle.tokens - image.length for image in images)


class Sequence:
    """The tokens of prompt and answer; position and index are the same.

    `computed`: the first so many are in the KV cache. `slot`: its place there. `namespace`: what
    must be equal for equal tokens to mean the same cache, its adapters. `reserved`: KV cells it
    may come to need. `donor`, `awaited`: whose first so many tokens it waits for. `row`: of the
    batch, where its next token's logits are; `taken`: pending tokens in the batch; `drafts`:
    guessed tokens in the rows behind them.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        sampler: Sampler,
        *,
        context_length: int,
        cells: int | None = None,
        namespace: Namespace = (),
        drafter: Drafter | None = None,
    ) -> None:
        """`cells`: of the KV cache, that it may fill; as many as its context by default.

        Raises ContextOverflow when the beginning that must stay leaves no room,
        UnsupportedParameter for log probabilities of a prompt that is not processed whole.
        """
        self.id = spec.id
        self.sampler = sampler
        self.namespace = namespace
        self.order = 0
        self.images: tuple[ImageSpan, ...] = spec.images
        self.stop_tokens = frozenset(spec.prediction.stop_token_ids)
        self.is_shifting = spec.prediction.context_overflow_policy != "stopAtLimit"
        self.wants_prompt_scores = spec.prediction.echo and spec.prediction.logprobs is not None
        self.reveals_special = spec.reveals_special
        self.drafter = drafter
        self._most_drafts = spec.prediction.max_draft_tokens
        extra = count_extra_cells(spec.images)
        self._context_length = min(context_length, (cells or context_length) - extra)
        keeps = spec.prediction.context_overflow_policy == "truncateMiddle"
        self._keep = min(spec.keep, len(spec.prompt)) if keeps else 0
        wanted = spec.prediction.max_tokens
        prompt = np.array(spec.prompt, dtype=np.int32)
        self.dropped = 0
        if self.is_shifting:
            prompt = self._fit(prompt, wanted)
        self.prompt_length = len(prompt)
        self.limit, self.limit_reason = self._choose_limit(wanted)
        self.reserved = min(self.prompt_length + self.limit, self._context_length) + extra
        self._array = np.zeros(self.prompt_length + _MARGIN, dtype=np.int32)
        self._array[: self.prompt_length] = prompt
        self._view = self._array.data
        self.length = self.prompt_length
        self.slot = NO_SLOT
        self.computed = self.cached = self.generated = 0
        self.is_resuming = False
        self.donor: Sequence | None = None
        self.awaited = 0
        self.is_live = True
        self.row = -1
        self.taken = 0
        self.drafts: list[int] = []
        self.drafted = self.accepted = self.forced = 0

    @property
    def tokens(self) -> NDArray[np.int32]:
        """All of them, valid until one is appended."""
        return self._array[: self.length]

    @property
    def stats(self) -> SequenceStats:
        """What it has counted so far."""
        return SequenceStats(
            drafted=self.drafted,
            accepted=self.accepted,
            forced=self.forced,
            shifted=self.dropped,
        )

    @property
    def pending(self) -> int:
        """Tokens that are not in the KV cache yet."""
        return self.length - self.computed

    @property
    def last(self) -> int:
        """The newest token."""
        return int(self._view[self.length - 1])

    @property
    def is_full(self) -> bool:
        """Whether the context has no room for one more token."""
        return self.room <= 0

    @property
    def room(self) -> int:
        """Tokens for which the context still has room."""
        return self._context_length - self.length

    @property
    def longest_draft(self) -> int:
        """Tokens that may be guessed at a time: the last one allowed is never a guess."""
        return min(self._most_drafts, self.limit - self.generated - 1)

    def append(self, token: int) -> None:
        """A token joins the answer."""
        if self.length == len(self._array):
            self._array = np.concatenate([self._array, np.zeros_like(self._array)])
            self._view = self._array.data
        self._view[self.length] = token
        self.length += 1

    def matches(self, position: int, token: int) -> bool:
        """Whether `token` stands at `position`."""
        return position < self.length and int(self._view[position]) == token

    def make_room(self) -> None:
        """Drop what the overflow policy gives up; nothing is computed of what is left."""
        left = shift(self.tokens, self._context_length, self._keep)
        self.dropped += self.length - len(left)
        self._array[: len(left)] = left
        self.length = len(left)
        self.computed = 0
        self.is_resuming = True

    def next_image(self) -> ImageSpan | None:
        """The first image that is not computed yet."""
        return next((span for span in self.images if span.begin >= self.computed), None)

    def longest_share(self, length: int) -> int:
        """At most `length` of its first tokens, such that one is left to compute and no image is
        cut."""
        length = min(length, self.length - 1)
        for span in self.images:
            if span.begin < length < span.begin + span.length:
                return span.begin
        return length

    def close(self) -> None:
        """Free what its sampler and drafter hold."""
        self.sampler.close()
        if self.drafter is not None:
            self.drafter.close()

    def _fit(self, prompt: NDArray[np.int32], wanted: int) -> NDArray[np.int32]:
        fitted = fit_prompt(prompt, self._context_length, self._keep, wanted)
        self.dropped = len(prompt) - len(fitted)
        if self.dropped and self.wants_prompt_scores:
            raise UnsupportedParameter(
                f"echo: {self.dropped} tokens of the prompt are dropped to fit the context, so "
                "they have no log probabilities.",
                param="echo",
                hint="Leave out echo or logprobs, or shorten the prompt.",
            )
        return fitted

    def _choose_limit(self, wanted: int) -> tuple[int, FinishReason]:
        if self.is_shifting:
            return (wanted if wanted >= 0 else _ENDLESS), "maxPredictedTokensReached"
        room = self._context_length - self.prompt_length
        if 0 <= wanted <= room:
            return wanted, "maxPredictedTokensReached"
        return room, "contextLengthReached"
