"""Text generation on llama.cpp: sequences wait, are prefilled and stream, in one batch per step.

It knows no text but pieces, and no stop string. Prompts share the prefill of a step in turns, one
after the other: a short prompt does not wait for a long one that came first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

from lmrun.engines.base import (
    EngineUsage,
    FinishReason,
    ModelInfo,
    PromptProcessed,
    SequenceFailed,
    SequenceFinished,
    SequenceSpec,
    StepEvent,
    TokenProduced,
)
from lmrun.engines.llama_cpp import native_log, slices
from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.loading import NativeModel
from lmrun.engines.llama_cpp.sampling.outputs import Outputs
from lmrun.engines.llama_cpp.sampling.sampler import LogitsUnusable, Sampler
from lmrun.errors import ContextOverflow, EngineError, InvalidParameter, UnsupportedParameter
from lmrun.settings.structured import StructuredOutput

_NO_ROOM = 1
_WHOLE_SEQUENCE = -1
# Decode-only steps are all alike; measuring each would cost 35 µs of cold caches.
_OBSERVED_EVERY = 4


@dataclass(slots=True, eq=False)
class _Sequence:
    """A sequence on its way. `limit`: tokens it may generate; `slot`: its place in the KV cache.

    `processed`: prompt tokens in the context. `token`: the last one generated, not yet decoded.
    """

    id: int
    prompt: NDArray[np.int32]
    sampler: Sampler
    limit: int
    limit_reason: FinishReason
    stops: frozenset[int]
    slot: int = -1
    processed: int = 0
    generated: int = 0
    token: int = -1

    @property
    def rest(self) -> int:
        return len(self.prompt) - self.processed


class GenerationModel:
    """A loaded model that generates, up to `info.max_sequences` sequences in one `llama_decode`."""

    def __init__(self, model: NativeModel, most_threads: int | None) -> None:
        self._native = model
        self._most_threads = most_threads
        self._batch = Batch(model.shape.chunk + model.shape.sequences)
        self._outputs = Outputs(model.context, model.info.vocab_size)
        self._free_slots = list(reversed(range(model.shape.sequences)))
        self._waiting: deque[_Sequence] = deque()
        self._prefilling: deque[_Sequence] = deque()
        self._streaming: list[_Sequence] = []
        self._known: dict[int, _Sequence] = {}
        self._pace = slices.Pace()
        self._steps = 0

    @property
    def info(self) -> ModelInfo:
        return self._native.info

    @property
    def active(self) -> int:
        return len(self._prefilling) + len(self._streaming)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return self._native.vocabulary.tokenize(
            text, add_special=add_special, parse_special=parse_special
        )

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return self._native.vocabulary.detokenize(tokens)

    def make_constraint(self, structured: StructuredOutput) -> Any:
        raise UnsupportedParameter("This model cannot be constrained.", param="structured")

    def add(self, spec: SequenceSpec) -> None:
        self._require_possible(spec)
        room = self.info.context_length - len(spec.prompt)
        wanted = spec.prediction.max_tokens
        bounded = 0 <= wanted <= room
        sequence = _Sequence(
            id=spec.id,
            prompt=np.array(spec.prompt, dtype=np.int32),
            sampler=Sampler(spec.prediction, spec.prompt, self._native.vocabulary),
            stops=frozenset(spec.prediction.stop_token_ids),
            limit=wanted if bounded else room,
            limit_reason="maxPredictedTokensReached" if bounded else "contextLengthReached",
        )
        self._known[spec.id] = sequence
        self._waiting.append(sequence)

    def cancel(self, sequence: int) -> None:
        found = self._known.get(sequence)
        if found is not None:
            self._drop(found)

    def step(self) -> list[StepEvent]:
        self._admit()
        if not self._prefilling and not self._streaming:
            return []
        prefill = self._fill_batch()
        rows = len(self._streaming)
        started = time.perf_counter()
        code: int = native.llama_decode(self._native.context, self._batch.native)
        if self._native.asynchronous:
            native.llama_synchronize(self._native.context)
        seconds = time.perf_counter() - started
        if code:
            return [self._refuse(code)]
        self._steps += 1
        prompt_tokens = self._batch.size - rows
        if prompt_tokens or self._steps % _OBSERVED_EVERY == 0:
            self._pace = slices.observe(
                self._pace, rows=rows, prompt_tokens=prompt_tokens, seconds=seconds
            )
        events: list[StepEvent] = []
        for row, sequence in enumerate(self._streaming.copy()):
            self._advance(sequence, row, events)
        for sequence, taken, row in prefill:
            self._proceed(sequence, taken, row, events)
        return events

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        raise UnsupportedParameter(
            "This is a text model: it gives no embeddings.",
            param="model",
            hint="Name an embedding model.",
        )

    def usage(self) -> EngineUsage:
        return EngineUsage()

    def rest(self) -> bool:
        return False

    def set_threads(self, threads: int) -> None:
        self._native.set_threads(min(threads, self._most_threads or threads))

    def close(self) -> None:
        for sequence in list(self._known.values()):
            self._drop(sequence)
        self._native.close()

    def _require_possible(self, spec: SequenceSpec) -> None:
        if spec.id in self._known:
            raise InvalidParameter(f"id: sequence {spec.id} is there already.", param="id")
        if not spec.prompt:
            raise InvalidParameter("prompt: it holds no token.", param="prompt")
        if len(spec.prompt) >= self.info.context_length:
            raise ContextOverflow(
                f"The prompt has {len(spec.prompt)} tokens and leaves no room for an answer in a "
                f"context of {self.info.context_length}.",
                param="prompt",
                hint="Shorten it, or raise the model's context_length.",
            )
        self._native.vocabulary.require_known(spec.prompt, "prompt")
        self._native.vocabulary.require_known(list(spec.prediction.logit_bias), "logit_bias")
        self._native.vocabulary.require_known(spec.prediction.stop_token_ids, "stop_token_ids")

    def _admit(self) -> None:
        while self._waiting and self._free_slots:
            sequence = self._waiting.popleft()
            sequence.slot = self._free_slots.pop()
            self._prefilling.append(sequence)

    def _fill_batch(self) -> list[tuple[_Sequence, int, int]]:
        """All streams, then slices of prompts: (sequence, tokens taken, last row) of each."""
        batch = self._batch
        batch.clear()
        for sequence in self._streaming:
            position = len(sequence.prompt) + sequence.generated - 1
            batch.add_token(sequence.token, position, sequence.slot)
        if not self._prefilling:
            return []
        rows, chunk = len(self._streaming), self._native.shape.chunk
        budget = slices.choose_slice(self._pace, rows, chunk) if rows else chunk
        shares = slices.share([sequence.rest for sequence in self._prefilling], budget)
        return [
            (sequence, taken, self._add_slice(sequence, taken))
            for sequence, taken in zip(self._prefilling, shares, strict=True)
            if taken
        ]

    def _add_slice(self, sequence: _Sequence, taken: int) -> int:
        begin = sequence.processed
        return self._batch.add_slice(
            sequence.prompt[begin : begin + taken],
            begin,
            sequence.slot,
            output="last" if taken == sequence.rest and sequence.limit else "none",
        )

    def _proceed(self, sequence: _Sequence, taken: int, row: int, events: list[StepEvent]) -> None:
        """After a slice of its prompt: to the back of the turn, or to its first token."""
        sequence.processed += taken
        events.append(PromptProcessed(sequence.id, sequence.processed))
        if not sequence.rest and not sequence.limit:
            self._finish(sequence, sequence.limit_reason, events)
            return
        self._prefilling.remove(sequence)
        if sequence.rest:
            self._prefilling.append(sequence)
        else:
            self._streaming.append(sequence)
            self._advance(sequence, row, events)

    def _advance(self, sequence: _Sequence, row: int, events: list[StepEvent]) -> None:
        """One token out of the logits of `row`."""
        sampler = sequence.sampler
        try:
            token = sampler.sample(self._outputs, row)
        except LogitsUnusable as error:
            self._drop(sequence)
            events.append(SequenceFailed(sequence.id, str(error)))
            return
        piece = self._native.vocabulary.piece(token)
        if piece is None or token in sequence.stops:
            self._finish(sequence, "eosFound", events)
            return
        logprob = sampler.score(self._outputs, row, token) if sampler.wants_scores else None
        sampler.accept(token)
        sequence.token = token
        sequence.generated += 1
        events.append(TokenProduced(sequence.id, token, piece, logprob))
        if sequence.generated == sequence.limit:
            self._finish(sequence, sequence.limit_reason, events)

    def _finish(self, sequence: _Sequence, reason: FinishReason, events: list[StepEvent]) -> None:
        self._drop(sequence)
        events.append(SequenceFinished(sequence.id, reason))

    def _refuse(self, code: int) -> SequenceFailed:
        """llama.cpp computed nothing. Without a KV cell left, the youngest sequence goes."""
        if code != _NO_ROOM:
            raise EngineError(f"llama_decode failed ({code}): {native_log.read_reason()}")
        youngest = max(self._prefilling or self._streaming, key=list(self._known.values()).index)
        self._drop(youngest)
        return SequenceFailed(youngest.id, "The KV cache has no room for this sequence.")

    def _drop(self, sequence: _Sequence) -> None:
        """Free all that a sequence holds, wherever it is."""
        del self._known[sequence.id]
        if sequence.slot < 0:
            self._waiting.remove(sequence)
        else:
            (self._streaming if sequence in self._streaming else self._prefilling).remove(sequence)
            native.llama_memory_seq_rm(
                self._native.memory, sequence.slot, _WHOLE_SEQUENCE, _WHOLE_SEQUENCE
            )
            self._free_slots.append(sequence.slot)
        sequence.sampler.close()
