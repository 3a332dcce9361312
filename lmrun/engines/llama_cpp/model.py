"""Text generation on llama.cpp: requests become sequences of one of two lanes.

The batched lane is fast: sequences share decodes and prefixes. The exact lane runs one sequence at
a time in a context of its own, so that nothing that runs beside it changes a bit. It knows no text
but pieces, and no stop string.
"""

from __future__ import annotations

from collections.abc import Sequence as Several
from pathlib import Path
from typing import Any

from lmrun.engines.base import (
    NO_ATTACHMENTS,
    Attachments,
    CacheStore,
    EngineUsage,
    ModelInfo,
    SequenceSpec,
    StepEvent,
)
from lmrun.engines.llama_cpp.context import Context
from lmrun.engines.llama_cpp.loading.context import make_strict_context, shape_strict
from lmrun.engines.llama_cpp.loading.native import NativeModel
from lmrun.engines.llama_cpp.prefixes.files import PrefixFiles
from lmrun.engines.llama_cpp.prefixes.parking import Parking
from lmrun.engines.llama_cpp.sampling.sampler import Sampler
from lmrun.engines.llama_cpp.scheduling.advancing import Counters
from lmrun.engines.llama_cpp.scheduling.lane import Lane
from lmrun.engines.llama_cpp.scheduling.sequence import Namespace, Sequence
from lmrun.errors import ContextOverflow, InvalidParameter, UnsupportedParameter
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
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

    @property
    def info(self) -> ModelInfo:
        return self._native.info

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

    def detokenize(self, tokens: Several[int]) -> bytes:
        return self._native.vocabulary.detokenize(tokens)

    def make_constraint(self, structured: StructuredOutput) -> Any:
        raise UnsupportedParameter("This model cannot be constrained.", param="structured")

    def add(self, spec: SequenceSpec) -> None:
        self._require_possible(spec)
        lane = self._batched
        if spec.prediction.deterministic == "strict":
            lane = self._exact = self._exact or self._make_exact_lane()
        lane.add(self._make_sequence(spec))

    def cancel(self, sequence: int) -> None:
        self._batched.cancel(sequence)
        if self._exact is not None:
            self._exact.cancel(sequence)

    def step(self) -> list[StepEvent]:
        events: list[StepEvent] = []
        self._batched.step(events)
        if self._exact is not None:
            self._exact.step(events)
        return events

    def embed(self, inputs: Several[Several[int]]) -> list[list[float]]:
        raise UnsupportedParameter(
            "This is a text model: it gives no embeddings.",
            param="model",
            hint="Name an embedding model.",
        )

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
        return self._parking.save_one()

    def set_threads(self, threads: int) -> None:
        self._threads = min(threads, self._config.threads or threads)
        for context in self._contexts:
            context.set_threads(self._threads)

    def close(self) -> None:
        self._batched.drop_all()
        if self._exact is not None:
            self._exact.drop_all()
        self._parking.close()
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

    def _make_sequence(self, spec: SequenceSpec) -> Sequence:
        namespace = self._choose_adapters(spec.prediction)
        constraint = spec.constraint
        if constraint is None and spec.prediction.structured is not None:
            constraint = self.make_constraint(spec.prediction.structured)
        sampler = Sampler(spec.prediction, spec.prompt, self._native.vocabulary, constraint)
        return Sequence(spec, sampler, context_length=self.info.context_length, namespace=namespace)

    def _choose_adapters(self, prediction: PredictionConfig) -> Namespace:
        adapters = self._native.adapters
        scales = {name: adapter.scale for name, adapter in adapters.items()}
        if prediction.adapters is not None:
            unknown = [name for name in prediction.adapters if name not in adapters]
            if unknown:
                known = ", ".join(adapters) or "none"
                raise InvalidParameter(
                    f"adapters: this model has no adapter {unknown[0]!r}.",
                    param="adapters",
                    hint=f"It was loaded with: {known}.",
                )
            scales = prediction.adapters
        return tuple(sorted((name, scale) for name, scale in scales.items() if scale))

    def _require_possible(self, spec: SequenceSpec) -> None:
        prediction = spec.prediction
        if spec.id in self._batched or (self._exact is not None and spec.id in self._exact):
            raise InvalidParameter(f"id: sequence {spec.id} is there already.", param="id")
        if not spec.prompt:
            raise InvalidParameter("prompt: it holds no token.", param="prompt")
        is_shifting = prediction.context_overflow_policy != "stopAtLimit"
        if len(spec.prompt) >= self.info.context_length and not is_shifting:
            raise ContextOverflow(
                f"The prompt has {len(spec.prompt)} tokens and leaves no room for an answer in a "
                f"context of {self.info.context_length}.",
                param="prompt",
                hint="Shorten it, or raise the model's context_length.",
            )
        _require_compatible(spec)
        vocabulary = self._native.vocabulary
        vocabulary.require_known(_without_images(spec), "prompt")
        vocabulary.require_known(list(prediction.logit_bias), "logit_bias")
        vocabulary.require_known(prediction.stop_token_ids, "stop_token_ids")


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
        model.traits.unified,
        model.shape.context_length,
    ]
    identity = "\n".join(map(str, parts))
    return PrefixFiles(Path(store.folder), store.secret, identity)


def _without_images(spec: SequenceSpec) -> Several[int]:
    if not spec.images:
        return spec.prompt
    inside = {
        position
        for image in spec.images
        for position in range(image.begin, image.begin + image.length)
    }
    return [token for position, token in enumerate(spec.prompt) if position not in inside]


def _require_compatible(spec: SequenceSpec) -> None:
    """Raises UnsupportedParameter for settings that exclude each other."""
    prediction = spec.prediction
    if spec.images and prediction.context_overflow_policy != "stopAtLimit":
        raise UnsupportedParameter(
            f"context_overflow_policy: {prediction.context_overflow_policy} cannot drop parts of "
            "a prompt with images.",
            param="context_overflow_policy",
            hint="Use stopAtLimit.",
        )
    last = spec.images[-1] if spec.images else None
    if last is not None and last.begin + last.length >= len(spec.prompt):
        raise InvalidParameter(
            "prompt: it ends with an image; some text must follow.", param="prompt"
        )
    speculates = prediction.prompt_lookup or prediction.draft_model is not None
    if speculates and prediction.deterministic == "strict":
        name = "draft_model" if prediction.draft_model is not None else "prompt_lookup"
        raise UnsupportedParameter(
            f"{name}: strict determinism excludes speculation.",
            param=name,
            hint="Leave one of the two out.",
        )
