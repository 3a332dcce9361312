"""Embedding models: batches of inputs to vectors. It generates nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native

from lmrun.engines.base import EngineUsage, ImageSpan, ModelInfo, SequenceSpec, StepEvent
from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.loading.native import NativeModel
from lmrun.errors import ContextOverflow, EngineError, InvalidParameter, UnsupportedParameter
from lmrun.settings.structured import StructuredOutput


class EmbeddingModel:
    """A loaded model that embeds. No sequence is ever active."""

    active = 0
    waiting = 0

    def __init__(self, model: NativeModel, most_threads: int | None) -> None:
        self._native = model
        self._most_threads = most_threads
        self._batch = Batch(model.shape.chunk)

    @property
    def info(self) -> ModelInfo:
        return self._native.info

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return self._native.vocabulary.tokenize(
            text, add_special=add_special, parse_special=parse_special
        )

    def prepare_prompt(
        self, pieces: Sequence[str | bytes], *, add_special: bool
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
        raise UnsupportedParameter("An embedding model takes no images.", param="images[0]")

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return self._native.vocabulary.detokenize(tokens)

    def make_constraint(self, structured: StructuredOutput) -> Any:
        raise UnsupportedParameter("An embedding model cannot be constrained.", param="structured")

    def prepare_draft_model(self, path: str) -> None:
        raise UnsupportedParameter("An embedding model does not speculate.", param="draft_model")

    def add(self, spec: SequenceSpec) -> None:
        raise UnsupportedParameter(
            "This is an embedding model: it does not generate text.",
            param="model",
            hint="Use it for embeddings, or name a text model.",
        )

    def cancel(self, sequence: int) -> None:
        """Nothing is ever there to cancel."""

    def step(self) -> list[StepEvent]:
        return []

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        for tokens in inputs:
            self._require_fitting(tokens)
        shape = self._native.shape
        vectors: list[list[float]] = []
        for begin, end in pack([len(tokens) for tokens in inputs], shape.chunk, shape.sequences):
            vectors += self._embed_together(inputs[begin:end])
        return vectors

    def usage(self) -> EngineUsage:
        return EngineUsage()

    def rest(self) -> bool:
        return False

    def set_threads(self, threads: int) -> None:
        self._native.set_threads(min(threads, self._most_threads or threads))

    def close(self) -> None:
        self._native.close()

    def _require_fitting(self, tokens: Sequence[int]) -> None:
        if not tokens:
            raise InvalidParameter("input: it holds no token.", param="input")
        if len(tokens) > self.info.context_length:
            raise ContextOverflow(
                f"The input has {len(tokens)} tokens, the model takes {self.info.context_length}.",
                param="input",
                hint="Split it into shorter inputs.",
            )
        self._native.vocabulary.require_known(tokens, "input")

    def _embed_together(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        """The vectors of inputs that fit one batch."""
        self._batch.clear()
        for slot, tokens in enumerate(inputs):
            self._batch.add_slice(np.asarray(tokens, dtype=np.int32), 0, slot, output="all")
        context, memory = self._native.context, self._native.memory
        compute = native.llama_encode if memory is None else native.llama_decode
        if memory is not None:
            native.llama_memory_clear(memory, False)
        code: int = compute(context, self._batch.native)
        if code:
            raise EngineError(f"llama.cpp failed ({code}): {native_log.read_reason()}")
        return [self._read_vector(slot) for slot in range(len(inputs))]

    def _read_vector(self, slot: int) -> list[float]:
        pointer = native.llama_get_embeddings_seq(self._native.context, slot)
        vector = np.ctypeslib.as_array(pointer, (self.info.embedding_length,)).astype(np.float64)
        length = float(np.linalg.norm(vector))
        unit: list[float] = (vector / length if length else vector).tolist()
        return unit


def pack(lengths: Sequence[int], room: int, most: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges whose lengths add up to at most `room`, of at most `most` each."""
    begin = filled = 0
    for index, length in enumerate(lengths):
        if index > begin and (filled + length > room or index - begin == most):
            yield begin, index
            begin, filled = index, 0
        filled += length
    if lengths:
        yield begin, len(lengths)
