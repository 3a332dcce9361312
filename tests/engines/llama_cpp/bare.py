"""A bare `llama_decode` loop, one sequence, as the reference for the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.loading.native import NativeModel, load_native
from lmrun.engines.llama_cpp.sampling.outputs import Outputs
from lmrun.settings.load import LoadConfig
from tests.support.engines import Subject


@contextmanager
def bare_model(subject: Subject, **settings: object) -> Iterator[NativeModel]:
    """A model with a context for one sequence and flash attention off."""
    chosen = {"flash_attention": False, "max_parallel_predictions": 1, **settings}
    config = LoadConfig.model_validate(chosen)
    model = load_native(subject.path, config, 1, lambda fraction: None)
    try:
        yield model
    finally:
        model.close()


def read_logits(
    model: NativeModel, prompt: Sequence[int], answer: Sequence[int]
) -> Iterator[NDArray[np.float32]]:
    """The raw logits before each token of `answer` and after it: the prompt in one batch."""
    native.llama_memory_clear(model.memory, False)
    batch, outputs = Batch(len(prompt)), Outputs(model.context, model.info.vocab_size)
    row = batch.add_slice(np.array(prompt, dtype=np.int32), 0, 0, output="last")
    for position, token in enumerate((*answer, 0), start=len(prompt)):
        assert native.llama_decode(model.context, batch.native) == 0
        yield outputs.read(row).copy()
        batch.clear()
        row = batch.add_token(token, position, 0)


def decode_greedily(model: NativeModel, prompt: Sequence[int], tokens: int) -> list[int]:
    """Tokens by llama.cpp's own greedy sampler."""
    native.llama_memory_clear(model.memory, False)
    chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
    native.llama_sampler_chain_add(chain, native.llama_sampler_init_greedy())
    batch = Batch(len(prompt))
    batch.add_slice(np.array(prompt, dtype=np.int32), 0, 0, output="last")
    answer: list[int] = []
    while len(answer) < tokens:
        assert native.llama_decode(model.context, batch.native) == 0
        answer.append(native.llama_sampler_sample(chain, model.context, -1))
        batch.clear()
        batch.add_token(answer[-1], len(prompt) + len(answer) - 1, 0)
    native.llama_sampler_free(chain)
    return answer
