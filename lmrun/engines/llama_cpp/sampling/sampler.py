"""Which token comes next in one sequence. It knows no text and no other sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llama_cpp import llama_cpp as native

from lmrun.engines.base import TokenLogprob
from lmrun.engines.llama_cpp.sampling.adjustments import make_adjustments
from lmrun.engines.llama_cpp.sampling.chain import make_chain
from lmrun.engines.llama_cpp.sampling.dry import make_dry
from lmrun.engines.llama_cpp.sampling.logprobs import Scores
from lmrun.engines.llama_cpp.sampling.outputs import Logits, Outputs, require_number
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.settings.prediction import PredictionConfig


class Constraint(Protocol):
    """What an answer must look like, as far as it has come."""

    def apply(self, logits: Logits) -> None:
        """Give every token that cannot come next a logit of minus infinity, in place."""

    def accept(self, token: int) -> None:
        """`token` has joined the sequence."""

    def forced(self, most: int) -> list[int]:
        """At most `most` tokens that are left without an alternative now; none is accepted."""

    def count_allowed(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` could join, one after the other; none is accepted."""

    @property
    def must_end(self) -> bool:
        """Whether nothing but the end of the answer can come next."""


class Sampler:
    """One sequence's sampler. `close` frees what llama.cpp holds for it.

    Per token: `sample`, then `score` if `wants_scores`, then `accept`. A token that joins without
    being chosen (forced by a grammar) is only accepted; mirostat learns from its own draws alone.
    """

    def __init__(
        self,
        prediction: PredictionConfig,
        prompt: Sequence[int],
        vocabulary: Vocabulary,
        constraint: Constraint | None = None,
    ) -> None:
        """Raises InvalidParameter for a DRY sequence breaker that llama.cpp cannot take."""
        self._vocabulary = vocabulary
        self.constraint = constraint
        self._top = prediction.logprobs
        self._scores: Scores | None = None
        self._scored: tuple[Outputs, int] | None = None
        self._adjustments = make_adjustments(prediction, prompt)
        self._dry = make_dry(prediction, prompt, vocabulary)
        if self._dry is not None:
            self._adjustments.append(self._dry)
        self._chain = make_chain(prediction, vocabulary.size)

    @property
    def wants_scores(self) -> bool:
        """Whether the sequence asked for log probabilities."""
        return self._top is not None

    def sample(self, outputs: Outputs, row: int) -> int:
        """The next token out of the logits of batch row `row`, which are changed in place.

        It is not accepted. Raises LogitsUnusable when the logits hold something that is no number,
        or leave no token.
        """
        logits = outputs.read(row)
        if self._top is not None:
            self._scores, self._scored = Scores(logits), (outputs, row)
        for adjustment in self._adjustments:
            adjustment.apply(logits)
        if self.constraint is not None:
            self.constraint.apply(logits)
        if self._chain is None:
            token = int(logits.argmax())
            require_number(logits.item(token))
            return token
        # llama.cpp's sorting is undefined with NaN; the largest logit is NaN if any is.
        require_number(logits.max())
        drawn: int = native.llama_sampler_sample(self._chain, outputs.context, row)
        return drawn

    def accept(self, token: int) -> None:
        """`token` has joined the sequence, chosen by `sample` or not."""
        for adjustment in self._adjustments:
            adjustment.accept(token)
        if self.constraint is not None:
            self.constraint.accept(token)

    def score(self, outputs: Outputs, row: int, token: int) -> TokenLogprob:
        """`token`'s log probability in the raw logits of `row`, with the likeliest tokens' ones.

        After `sample` on the same row, of the logits as they were before it; on another row, of
        the logits as they are, for a token that was not chosen. Once per row.
        """
        scores = self._scores if self._scored == (outputs, row) else None
        self._scores = self._scored = None
        scores = scores or Scores(outputs.read(row))
        return scores.of(token, self._vocabulary, self._top or 0)

    def close(self) -> None:
        if self._dry is not None:
            self._dry.close()
        if self._chain is not None:
            native.llama_sampler_free(self._chain)
            self._chain = None
