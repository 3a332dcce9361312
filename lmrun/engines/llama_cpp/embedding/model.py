"""Embedding models and rerankers: batches of inputs to vectors or scores. It generates nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

from lmrun.engines.base import (
    EngineUsage,
    ImageSpan,
    ModelInfo,
    SequenceSpec,
    SequenceStats,
    StepEvent,
)
from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.embedding.pairs import PairTokenizer
from lmrun.engines.llama_cpp.loading.native import NativeModel
from lmrun.errors import ContextOverflow, EngineError, InvalidParameter, UnsupportedParameter
from lmrun.settings.structured import StructuredOutput


class EmbeddingModel:
    """A loaded model that embeds, or scores pairs when its `pooling` is rank. No sequence is ever
    active."""

    active = 0
    waiting = 0

    def __init__(self, model: NativeModel, most_threads: int | None) -> None:
        self._native = model
        self._most_threads = most_threads
        self._batch = Batch(model.shape.chunk)
        self._pairs = PairTokenizer(model.model, model.vocabulary)
        self._width = 1 if self._ranks else model.info.embedding_length

    @property
    def info(self) -> ModelInfo:
        return self._native.info

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return self._native.vocabulary.tokenize(
            text, add_special=add_special, parse_special=parse_special
        )

    def count_at_least(self, text: str) -> int:
        return self._native.vocabulary.count_at_least(text)

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

    def cancel(self, sequence: int) -> SequenceStats | None:
        """Nothing is ever there to cancel."""
        return None

    def step(self) -> list[StepEvent]:
        return []

    def embed(
        self, inputs: Sequence[Sequence[int]], dimensions: int | None = None
    ) -> list[list[float]]:
        if self._ranks:
            raise UnsupportedParameter(
                "This is a reranker: it scores documents and gives no embeddings.",
                param="model",
                hint="Name an embedding model.",
            )
        self._require_dimensions(dimensions)
        rows = self._compute(inputs)[:, :dimensions].astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        vectors: list[list[float]] = (rows / np.where(lengths, lengths, 1)).tolist()
        return vectors

    def tokenize_pair(self, query: str, document: str) -> list[int]:
        self._require_ranking()
        return self._pairs.tokenize(query, document)

    def score(self, pairs: Sequence[Sequence[int]]) -> list[float]:
        self._require_ranking()
        scores: list[float] = self._compute(pairs)[:, 0].tolist()
        return scores

    def usage(self) -> EngineUsage:
        return EngineUsage()

    def rest(self) -> bool:
        return False

    def set_threads(self, threads: int) -> None:
        self._native.set_threads(min(threads, self._most_threads or threads))

    def close(self) -> None:
        self._native.close()

    @property
    def _ranks(self) -> bool:
        return self.info.pooling == "rank"

    def _require_ranking(self) -> None:
        if not self._ranks:
            raise UnsupportedParameter(
                "This is no reranker: it does not score documents.",
                param="model",
                hint="Name a reranker, or compare embeddings.",
            )

    def _require_dimensions(self, dimensions: int | None) -> None:
        most = self.info.embedding_length
        if dimensions is not None and not 1 <= dimensions <= most:
            raise InvalidParameter(
                f"dimensions: {dimensions} is not within the {most} that this model has.",
                param="dimensions",
                hint=f"Give 1 to {most}.",
            )

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

    def _compute(self, inputs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """What the model says of each input, a row each. No batch is longer than a physical one:
        llama.cpp ends the process for an encoder's."""
        for tokens in inputs:
            self._require_fitting(tokens)
        shape = self._native.shape
        rows = np.empty((len(inputs), self._width), dtype=np.float32)
        for begin, end in pack([len(tokens) for tokens in inputs], shape.chunk, shape.sequences):
            self._compute_together(inputs[begin:end], rows[begin:end])
        return rows

    def _compute_together(self, inputs: Sequence[Sequence[int]], rows: NDArray[np.float32]) -> None:
        """Fill `rows` for inputs that fit one batch."""
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
        for slot in range(len(inputs)):
            pointer = native.llama_get_embeddings_seq(context, slot)
            rows[slot] = np.ctypeslib.as_array(pointer, (self._width,))


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
