"""Log probabilities out of raw logits. It knows no sequence and no sampling setting."""

from __future__ import annotations

import math

import numpy as np

from lmrun.engines.base import TokenLogprob
from lmrun.engines.llama_cpp.sampling.outputs import Logits, require_number
from lmrun.engines.llama_cpp.vocabulary import Vocabulary


class Scores:
    """The logarithm of the softmax of one row, natural, in 64 bits where it counts."""

    def __init__(self, logits: Logits) -> None:
        """`logits` is copied: sampling changes it. Raises LogitsUnusable."""
        best = float(logits.max())
        require_number(best)
        self._logits = logits.copy()
        total = np.exp(logits - best).sum(dtype=np.float64)
        self._log_total = best + math.log(total)

    def of(self, token: int, vocabulary: Vocabulary, top: int) -> TokenLogprob:
        """That of `token`, with those of the `top` likeliest tokens, likeliest first."""
        return TokenLogprob(
            token,
            vocabulary.render(token),
            self._logprob(token),
            tuple(
                TokenLogprob(likely, vocabulary.render(likely), self._logprob(likely))
                for likely in self._likeliest(top)
            ),
        )

    def _logprob(self, token: int) -> float:
        return float(self._logits[token]) - self._log_total

    def _likeliest(self, count: int) -> list[int]:
        """Of equally likely tokens, the one with the smaller id comes first."""
        logits = self._logits
        count = min(count, len(logits))
        if not count:
            return []
        tokens = np.argpartition(logits, len(logits) - count)[len(logits) - count :]
        return [int(token) for token in sorted(tokens, key=lambda id: (-logits[id], id))]
