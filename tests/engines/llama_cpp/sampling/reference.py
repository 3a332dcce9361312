"""llama.cpp's own sampler chain on logits of our choice, and a context to put logits into."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native

from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.sampling.outputs import Logits, Outputs
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.settings.prediction import PredictionConfig
from tests.engines.llama_cpp.bare import bare_model
from tests.support.engines import Subject

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
LAST_N_OF_PENALTIES = 64
MIROSTAT_M = 100


@dataclass
class Bench:
    """A context whose row 0 takes any logits, and its vocabulary."""

    vocabulary: Vocabulary
    outputs: Outputs

    def put(self, logits: Logits) -> None:
        self.outputs.read(0)[:] = logits


@contextmanager
def open_bench(subject: Subject) -> Iterator[Bench]:
    with bare_model(subject) as model:
        batch = Batch(1)
        batch.add_token(1, 0, 0)
        assert native.llama_decode(model.context, batch.native) == 0
        yield Bench(model.vocabulary, Outputs(model.context, model.info.vocab_size))


class ReferenceChain:
    """What `common_sampler_init` of llama.cpp builds, in its default order, without a grammar."""

    def __init__(
        self, prediction: PredictionConfig, prompt: Sequence[int], vocabulary: Vocabulary
    ) -> None:
        self._chain: Any = native.llama_sampler_chain_init(
            native.llama_sampler_chain_default_params()
        )
        for sampler in self._make(prediction, vocabulary):
            native.llama_sampler_chain_add(self._chain, sampler)
        for token in prompt:
            native.llama_sampler_accept(self._chain, token)

    def sample(self, logits: Logits) -> int:
        """The token that it chooses and remembers."""
        candidates = np.zeros(len(logits), _CANDIDATE)
        candidates["id"] = np.arange(len(logits))
        candidates["logit"] = logits
        array: Any = native.llama_token_data_array(size=len(logits), selected=-1, sorted=False)
        array.data = ctypes.cast(candidates.ctypes.data, type(array.data))
        native.llama_sampler_apply(self._chain, ctypes.byref(array))
        token: int = array.data[array.selected].id
        native.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        native.llama_sampler_free(self._chain)

    def _make(self, it: PredictionConfig, vocabulary: Vocabulary) -> Iterator[Any]:
        if it.repeat_penalty != 1:
            yield native.llama_sampler_init_penalties(
                vocabulary.size, LAST_N_OF_PENALTIES, it.repeat_penalty, 0.0, 0.0
            )
        yield _make_dry(it, vocabulary)
        if it.mirostat:
            yield native.llama_sampler_init_temp(it.temperature)
        if it.mirostat == 1:
            yield native.llama_sampler_init_mirostat(
                vocabulary.size, it.seed, it.mirostat_tau, it.mirostat_eta, MIROSTAT_M
            )
        elif it.mirostat == 2:
            yield native.llama_sampler_init_mirostat_v2(it.seed, it.mirostat_tau, it.mirostat_eta)
        else:
            yield native.llama_sampler_init_top_k(it.top_k)
            yield native.llama_sampler_init_typical(it.typical_p, 0)
            yield native.llama_sampler_init_top_p(it.top_p, 0)
            yield native.llama_sampler_init_min_p(it.min_p, 0)
            yield native.llama_sampler_init_xtc(it.xtc_probability, it.xtc_threshold, 0, it.seed)
            yield native.llama_sampler_init_temp_ext(it.temperature, 0.0, 1.0)
            yield native.llama_sampler_init_dist(it.seed)


def _make_dry(it: PredictionConfig, vocabulary: Vocabulary) -> Any:
    texts = [text.encode() for text in it.dry_sequence_breakers]
    breakers = (ctypes.c_char_p * len(texts))(*texts)
    last_n = it.dry_penalty_last_n if it.dry_penalty_last_n >= 0 else 100_000
    return native.llama_sampler_init_dry(
        vocabulary.native,
        it.dry_multiplier,
        it.dry_base,
        it.dry_allowed_length,
        last_n,
        breakers,
        len(texts),
    )
