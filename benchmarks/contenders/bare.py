"""`llama_decode` in a loop, in this process: what llama.cpp gives when nothing is around it.

It uses llama.cpp's low-level API alone, nothing of lmrun. Each of its streams has a KV cache of
its own, as lmrun's do.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from typing import Any

from llama_cpp import llama_cpp as native

from benchmarks.answers import Answer
from benchmarks.contenders.base import BARE, THREADS, Place, Request

_BATCH = 512
_FLASH_ATTENTION = 1
_log_nothing = native.llama_log_callback(lambda level, text, user: None)


class BareLoop:
    """Greedy, through llama.cpp's sampler chain. No token ends an answer."""

    name = BARE

    def __init__(self, place: Place) -> None:
        self._place = place
        self._model: Any = None
        self._context: Any = None

    async def start(self) -> None:
        native.llama_log_set(_log_nothing, ctypes.c_void_p(0))
        native.llama_backend_init()
        path = os.fsencode(self._place.model)
        self._model = native.llama_model_load_from_file(path, native.llama_model_default_params())
        self._vocab = native.llama_model_get_vocab(self._model)
        self._context = native.llama_init_from_model(self._model, self._choose_parameters())
        self._batch = native.llama_batch_init(_BATCH, 0, 1)
        self._chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
        native.llama_sampler_chain_add(self._chain, native.llama_sampler_init_greedy())

    async def stop(self) -> None:
        if self._context is None:
            return
        native.llama_sampler_free(self._chain)
        native.llama_batch_free(self._batch)
        native.llama_free(self._context)
        native.llama_model_free(self._model)
        self._context = self._model = None

    async def generate(self, *requests: Request) -> list[Answer]:
        sent_at = time.perf_counter()
        native.llama_memory_clear(native.llama_get_memory(self._context), False)
        prompts = [self.tokenize(request.prompt) for request in requests]
        times: list[list[float]] = [[] for _ in requests]
        tokens = self._prefill(prompts)
        for count in range(max(request.tokens for request in requests)):
            if count:
                tokens = self._decode(tokens, [len(prompt) + count - 1 for prompt in prompts])
            now = time.perf_counter() - sent_at
            for stream in times:
                stream.append(now)
        return [Answer(sent_at, tuple(at), at[-1], "", "length", {}) for at in times]

    def time_batches(self, sizes: Sequence[int], depth: int, times: int) -> list[list[float]]:
        """Seconds of decodes of `sizes` consecutive tokens behind `depth` others, logits of all.

        Sizes take turns, so that a busy moment meets them all.
        """
        memory = native.llama_get_memory(self._context)
        native.llama_memory_clear(memory, False)
        self._prefill([[1] * depth])
        seconds: list[list[float]] = [[] for _ in sizes]
        for _ in range(times):
            for place, size in enumerate(sizes):
                self._batch.n_tokens = 0
                for offset in range(size):
                    self._add(1, depth + offset, 0, wants_logits=True)
                begun = time.perf_counter()
                self._compute()
                seconds[place].append(time.perf_counter() - begun)
                native.llama_memory_seq_rm(memory, 0, depth, -1)
        return seconds

    def tokenize(self, text: str) -> list[int]:
        data = text.encode()
        tokens = (ctypes.c_int32 * (len(data) + 8))()
        count = native.llama_tokenize(
            self._vocab, data, len(data), tokens, len(tokens), True, False
        )
        return list(tokens[:count])

    def _choose_parameters(self) -> Any:
        parameters = native.llama_context_default_params()
        setup = self._place.setup
        parameters.n_ctx = setup.pool
        parameters.n_seq_max = setup.parallel
        parameters.kv_unified = False
        parameters.n_batch = parameters.n_ubatch = _BATCH
        parameters.n_threads = parameters.n_threads_batch = THREADS
        parameters.flash_attn_type = _FLASH_ATTENTION
        parameters.no_perf = True
        return parameters

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """All prompts, one behind the other in full batches; the first token of each."""
        firsts: list[int] = []
        self._batch.n_tokens = 0
        rows: list[int] = []
        for slot, prompt in enumerate(prompts):
            for position, token in enumerate(prompt):
                is_last = position == len(prompt) - 1
                if is_last:
                    rows.append(self._batch.n_tokens)
                self._add(token, position, slot, wants_logits=is_last)
                if self._batch.n_tokens == _BATCH:
                    firsts += self._flush(rows)
                    rows = []
        if self._batch.n_tokens:
            firsts += self._flush(rows)
        return firsts

    def _decode(self, tokens: Sequence[int], positions: Sequence[int]) -> list[int]:
        for slot, (token, position) in enumerate(zip(tokens, positions, strict=True)):
            self._add(token, position, slot, wants_logits=True)
        return self._flush(range(len(tokens)))

    def _flush(self, rows: Sequence[int]) -> list[int]:
        self._compute()
        self._batch.n_tokens = 0
        return [native.llama_sampler_sample(self._chain, self._context, row) for row in rows]

    def _compute(self) -> None:
        code = native.llama_decode(self._context, self._batch)
        if code:
            raise RuntimeError(f"llama_decode failed: {code}")

    def _add(self, token: int, position: int, slot: int, *, wants_logits: bool) -> None:
        batch = self._batch
        row = batch.n_tokens
        batch.token[row] = token
        batch.pos[row] = position
        batch.n_seq_id[row] = 1
        batch.seq_id[row][0] = slot
        batch.logits[row] = wants_logits
        batch.n_tokens = row + 1
