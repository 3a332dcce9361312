"""Text generation on llama.cpp: requests become sequences of one of two lanes.

The batched lane is fast: sequences share decodes and prefixes. The exact lane runs one sequence at
a time in a context of its own, so that nothing that runs beside it changes a bit. It knows no text
but pieces, and no stop string.
"""

from __future__ import annotations

from collections.abc import Sequence as Several
from functools import cached_property
from pathlib import Path

import msgspec

from lmrun.engines.base import (
    NO_ATTACHMENTS,
    Attachments,
    CacheStore,
    EngineUsage,
    ImageSpan,
    ModelInfo,
    SequenceSpec,
    SequenceStats,
    StepEvent,
)
from lmrun.engines.llama_cpp.constraints.compiler import ConstraintCompiler
from lmrun.engines.llama_cpp.constraints.constraint import Constraint
from lmrun.engines.llama_cpp.context import Context
from lmrun.engines.llama_cpp.drafting import Drafting
from lmrun.engines.llama_cpp.loading.context import make_strict_context, shape_strict
from lmrun.engines.llama_cpp.loading.native import NativeModel
from lmrun.engines.llama_cpp.prefixes.files import PrefixFiles
from lmrun.engines.llama_cpp.prefixes.parking import Parking
from lmrun.engines.llama_cpp.requirements import (
    choose_adapters,
    require_cells,
    require_compatible,
    require_fitting,
    require_known_tokens,
    text_tokens,
)
from lmrun.engines.llama_cpp.sampling.sampler import Sampler
from lmrun.engines.llama_cpp.scheduling.advancing import Counters
from lmrun.engines.llama_cpp.scheduling.lane import Lane
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence
from lmrun.engines.llama_cpp.vision.vision import Vision, open_vision
from lmrun.errors import InvalidParameter, LmrunError, UnsupportedParameter
from lmrun.settings.load import LoadConfig
from lmrun.settings.structured import StructuredOutput


class GenerationModel:
    """A loaded model that generates, up to `info.max_sequences` sequences in one `llama_decode`."""

    def __init__(
        self,
        model: NativeModel,
        config: LoadConfig,
        threads: int,
        attachments: Attachments = NO_ATTACHMENTS,
    ) -> None:
        self._native = model
        self._config = config
        self._threads = min(threads, config.threads or threads)
        self._counters = Counters()
        context = Context(
            model.context, model.shape, model.traits, model.info.vocab_size, model.adapters
        )
        self._contexts = [context]
        self._parking = Parking(
            context.memory,
            scratch=model.shape.sequences,
            limit=config.prefix_cache.ram,
            files=_open_files(attachments.cache_store, model, config),
        )
        self._batched = Lane(context, model.vocabulary, self._counters, self._parking)
        self._exact: Lane | None = None
        self._compiler = ConstraintCompiler(model.vocabulary)
        self._drafting = Drafting(model, config, self._threads, attachments.draft_model)
        self._vision = _open_vision(attachments.mmproj, model, config, self._threads)

    @cached_property
    def info(self) -> ModelInfo:
        if self._vision is None:
            return self._native.info
        return msgspec.structs.replace(self._native.info, type="vlm", accepts_images=True)

    @property
    def active(self) -> int:
        return self._batched.active + (self._exact.active if self._exact else 0)

    @property
    def waiting(self) -> int:
        return self._batched.waiting + (self._exact.waiting if self._exact else 0)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return self._native.vocabulary.tokenize(
            text, add_special=add_special, parse_special=parse_special
        )

    def count_at_least(self, text: str) -> int:
        return self._native.vocabulary.count_at_least(text)

    def prepare_prompt(
        self, pieces: Several[str | bytes], *, add_special: bool
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
        if self._vision is None:
            raise UnsupportedParameter(
                f"This {self.info.architecture} model was loaded without vision: it takes no "
                "images.",
                param="images[0]",
                hint="Set load.mmproj to the projector that was published with it.",
            )
        return self._vision.prepare(pieces, self.tokenize, add_special=add_special)

    def detokenize(self, tokens: Several[int]) -> bytes:
        return self._native.vocabulary.detokenize(tokens)

    def make_constraint(self, structured: StructuredOutput) -> Constraint:
        return self._compiler.compile(structured)

    def prepare_draft_model(self, path: str) -> None:
        self._drafting.prepare(path)

    def add(self, spec: SequenceSpec) -> None:
        self._require_possible(spec)
        lane = self._batched
        if spec.prediction.deterministic == "strict":
            lane = self._exact = self._exact or self._make_exact_lane()
        require_cells(spec, lane.room)
        lane.add(self._make_sequence(spec, lane.room))

    def cancel(self, sequence: int) -> SequenceStats | None:
        if self._exact is not None and sequence in self._exact:
            return self._exact.cancel(sequence)
        return self._batched.cancel(sequence)

    def step(self) -> list[StepEvent]:
        events: list[StepEvent] = []
        self._batched.step(events)
        if self._exact is not None:
            self._exact.step(events)
        return events

    def embed(
        self, inputs: Several[Several[int]], dimensions: int | None = None
    ) -> list[list[float]]:
        raise UnsupportedParameter(
            "This is a text model: it gives no embeddings.",
            param="model",
            hint="Name an embedding model.",
        )

    def tokenize_pair(self, query: str, document: str) -> list[int]:
        raise UnsupportedParameter("This is a text model: it scores no documents.", param="model")

    def score(self, pairs: Several[Several[int]]) -> list[float]:
        raise UnsupportedParameter("This is a text model: it scores no documents.", param="model")

    def usage(self) -> EngineUsage:
        return EngineUsage(
            kv_tokens=self._native.shape.pool,
            kv_tokens_used=self._batched.used_tokens,
            prefix_cache_bytes=self._parking.size,
            prefix_cache_limit=self._parking.limit,
            prefix_cache_entries=self._parking.count,
            prefilled_tokens=self._counters.prefilled,
            cached_tokens=self._counters.cached,
            generated_tokens=self._counters.generated,
            drafted_tokens=self._counters.drafted,
            accepted_tokens=self._counters.accepted,
        )

    def rest(self) -> bool:
        if self._batched.park_one() or (self._exact is not None and self._exact.park_one()):
            return True
        self._parking.save_one()
        return False

    def set_threads(self, threads: int) -> None:
        self._threads = min(threads, self._config.threads or threads)
        for context in self._contexts:
            context.set_threads(self._threads)
        self._drafting.set_threads(self._threads)

    def close(self) -> None:
        self._batched.drop_all()
        if self._exact is not None:
            self._exact.drop_all()
        self._parking.close()
        self._drafting.close()
        if self._vision is not None:
            self._vision.close()
        for context in self._contexts[1:]:
            context.close()
        self._native.close()

    def _make_exact_lane(self) -> Lane:
        """The lane of `deterministic: strict`: no reuse, fixed slices, nobody beside it."""
        model = self._native
        shape = shape_strict(model.weights, self._config)
        pointer = make_strict_context(model.weights, self._config, self._threads)
        context = Context(pointer, shape, model.traits, model.info.vocab_size, model.adapters)
        self._contexts.append(context)
        return Lane(context, model.vocabulary, self._counters, None)

    def _make_sequence(self, spec: SequenceSpec, cells: int) -> Sequence:
        constraint = spec.constraint
        if constraint is None and spec.prediction.structured is not None:
            constraint = self.make_constraint(spec.prediction.structured)
        drafter = self._drafting.choose(spec)
        namespace = choose_adapters(spec.prediction, self._native.adapters)
        vocabulary = self._native.vocabulary
        sampler = Sampler(spec.prediction, text_tokens(spec), vocabulary, constraint)
        try:
            return Sequence(
                spec,
                sampler,
                context_length=self.info.context_length,
                cells=cells,
                namespace=namespace,
                drafter=drafter,
            )
        except LmrunError:
            sampler.close()
            if drafter is not None:
                drafter.close()
            raise

    def _require_possible(self, spec: SequenceSpec) -> None:
        if spec.id in self._batched or (self._exact is not None and spec.id in self._exact):
            raise InvalidParameter(f"id: sequence {spec.id} is there already.", param="id")
        require_fitting(spec, self.info.context_length)
        require_compatible(spec)
        require_known_tokens(spec, self._native.vocabulary)


def _open_vision(
    path: str | None, model: NativeModel, config: LoadConfig, threads: int
) -> Vision | None:
    if path is None:
        return None
    on_cpu = config.gpu is not None and config.gpu.ratio in ("off", 0)
    return open_vision(
        model.model,
        Path(path),
        threads=threads,
        batch_tokens=model.shape.capacity,
        use_gpu=model.asynchronous and not on_cpu,
    )


def _open_files(
    store: CacheStore | None, model: NativeModel, config: LoadConfig
) -> PrefixFiles | None:
    """The store's prefixes that were computed just as this model computes them."""
    if store is None:
        return None
    parts = [
        store.identity,
        model.info.engine_version,
        config.k_cache_type,
        config.v_cache_type,
        config.flash_attention,
        config.rope_frequency_base,
        config.rope_frequency_scale,
        config.num_experts,
        # llama.cpp restores a state only where there are as many caches.
        0 if model.traits.unified else model.shape.sequences,
        model.shape.context_length,
    ]
    identity = "\n".join(map(str, parts))
    return PrefixFiles(Path(store.folder), store.secret, identity)
