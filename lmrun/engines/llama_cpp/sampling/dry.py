"""DRY, the penalty on repeated sequences, on llama.cpp's own sampler. It knows no other setting."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native

from lmrun.engines.llama_cpp.sampling.outputs import Logits
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.errors import InvalidParameter
from lmrun.settings.prediction import PredictionConfig

MAX_BREAKER_BYTES = 40
"""llama.cpp cuts a longer one silently."""

_LEAST_CAPACITY = 1024
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class DryPenalty:
    """llama.cpp's DRY sampler, shown only the tokens that the sequence holds already.

    It penalises no others, and walking the whole vocabulary costs it twenty times as much. Its
    window is memory that it takes at once, so the window is made anew as the sequence grows.
    """

    def __init__(
        self, prediction: PredictionConfig, prompt: Sequence[int], vocabulary: Vocabulary
    ) -> None:
        """Raises InvalidParameter for a sequence breaker that llama.cpp cannot take."""
        self._prediction = prediction
        self._vocabulary = vocabulary
        self._breakers = [_encode(text) for text in prediction.dry_sequence_breakers]
        self._window = prediction.dry_penalty_last_n
        self._history = list(prompt)
        self._candidates = np.zeros(_LEAST_CAPACITY, _CANDIDATE)
        self._ids = np.zeros(_LEAST_CAPACITY, np.int64)
        self._distinct: set[int] = set()
        self._array: Any = native.llama_token_data_array()
        self._capacity = 0
        self._sampler = 0
        self._grow()
        for token in set(prompt):
            self._list(token)

    def accept(self, token: int) -> None:
        self._history.append(token)
        if len(self._history) > self._capacity != self._window:
            self._grow()
        else:
            native.llama_sampler_accept(self._sampler, token)
        self._list(token)

    def apply(self, logits: Logits) -> None:
        count = len(self._distinct)
        ids, candidates = self._ids[:count], self._candidates
        candidates["logit"][:count] = logits[ids]
        array = self._array
        array.data = ctypes.cast(candidates.ctypes.data, type(array.data))
        array.size = count
        native.llama_sampler_apply(self._sampler, ctypes.byref(array))
        logits[ids] = candidates["logit"][:count]

    def close(self) -> None:
        if self._sampler:
            native.llama_sampler_free(self._sampler)
            self._sampler = 0

    def _list(self, token: int) -> None:
        """Make sure that `token` is among the candidates."""
        if token in self._distinct:
            return
        place = len(self._distinct)
        self._distinct.add(token)
        if place == len(self._ids):
            self._ids = np.concatenate([self._ids, self._ids])
            self._candidates = np.concatenate([self._candidates, self._candidates])
        self._ids[place] = token
        self._candidates["id"][place] = token

    def _grow(self) -> None:
        """A window for twice the tokens there are, or for as many as were asked for."""
        self.close()
        capacity = max(2 * len(self._history), _LEAST_CAPACITY)
        self._capacity = capacity if self._window < 0 else min(capacity, self._window)
        self._sampler = self._make()
        for token in self._history[-self._capacity :]:
            native.llama_sampler_accept(self._sampler, token)

    def _make(self) -> int:
        breakers = (ctypes.c_char_p * len(self._breakers))(*self._breakers)
        sampler: int = native.llama_sampler_init_dry(
            self._vocabulary.native,
            self._prediction.dry_multiplier,
            self._prediction.dry_base,
            self._prediction.dry_allowed_length,
            self._capacity,
            breakers,
            len(self._breakers),
        )
        return sampler


def make_dry(
    prediction: PredictionConfig, prompt: Sequence[int], vocabulary: Vocabulary
) -> DryPenalty | None:
    """The penalty, if it is on."""
    if not prediction.dry_multiplier or not prediction.dry_penalty_last_n:
        return None
    return DryPenalty(prediction, prompt, vocabulary)


def _encode(breaker: str) -> bytes:
    data = breaker.encode()
    if len(data) > MAX_BREAKER_BYTES or b"\0" in data:
        raise InvalidParameter(
            f"dry_sequence_breakers: {breaker!r} cannot be a sequence breaker.",
            param="dry_sequence_breakers",
            hint=f"It is text of at most {MAX_BREAKER_BYTES} bytes, without a zero byte.",
        )
    return data
