"""Weights with a context, and all that belongs to them: what an engine's models work on.

It knows no sequence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
from llama_cpp import llama_cpp as native

from lmrun.catalog.memory import choose_chunk
from lmrun.engines.base import NO_ATTACHMENTS, Attachments, ModelInfo
from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.loading import settings
from lmrun.engines.llama_cpp.loading.adapter_files import read_shapes
from lmrun.engines.llama_cpp.loading.adapters import Adapter, load_adapters, set_adapters
from lmrun.engines.llama_cpp.loading.context import make_context
from lmrun.engines.llama_cpp.loading.fingerprint import digest_engine
from lmrun.engines.llama_cpp.loading.shape import ContextShape, shape_embedding, shape_generation
from lmrun.engines.llama_cpp.loading.weights import Weights, load_weights, read_build
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.errors import LoadFailed, SettingRefused
from lmrun.settings.load import LoadConfig

MOST_EMBEDDED_AT_ONCE = 64
_SCORE_TENSOR = "cls.output.weight"
# Their two labels are "yes" and "no", and llama.cpp makes probabilities of them.
_YES_AND_NO = ("qwen3", "qwen3vl")
_MOST_PADDING = 128


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model's memory is like. `n_swa`: tokens of its sliding window, 0 for none.

    `unified`: its sequences share one pool of KV cells.
    """

    is_recurrent: bool
    is_hybrid: bool
    n_swa: int
    unified: bool

    @property
    def can_cut(self) -> bool:
        """Whether tokens can be taken off the end of a sequence, or out of it."""
        return not (self.is_recurrent or self.is_hybrid or self.n_swa)

    @property
    def can_share(self) -> bool:
        """Whether a part of one sequence can be given to another without a copy."""
        return self.can_cut and self.unified


class NativeModel:
    """Weights with a context: what `info` says, its vocabulary, its threads. Free it with `close`.

    `model`, `context`, `memory`: llama.cpp's pointers; `memory` is None for an encoder.
    `asynchronous`: a decode may return before it is done. `adapters`: the LoRA adapters, by name;
    none is set on the context of a model that generates.
    """

    def __init__(
        self,
        weights: Weights,
        context: int,
        shape: ContextShape,
        adapters: Mapping[str, Adapter] | None = None,
    ) -> None:
        self.weights = weights
        self.model = weights.model
        self.context = context
        self.shape = shape
        self.adapters: dict[str, Adapter] = dict(adapters or {})
        self.memory: int | None = native.llama_get_memory(context)
        self.vocabulary = Vocabulary(native.llama_model_get_vocab(weights.model))
        self.asynchronous: bool = native.llama_supports_gpu_offload()
        self.traits = Traits(
            is_recurrent=native.llama_model_is_recurrent(weights.model),
            is_hybrid=native.llama_model_is_hybrid(weights.model),
            n_swa=native.llama_model_n_swa(weights.model),
            unified=shape.unified,
        )
        self.info = _describe(weights, shape, self.vocabulary, tuple(self.adapters))

    def set_threads(self, threads: int) -> None:
        native.llama_set_n_threads(self.context, threads, threads)

    def close(self) -> None:
        """Twice is once. The adapters go with the weights."""
        if self.context:
            native.llama_free(self.context)
            self.weights.free()
            self.context = self.model = 0


def load_native(
    path: Path,
    config: LoadConfig,
    threads: int,
    on_progress: Callable[[float], None],
    attachments: Attachments = NO_ATTACHMENTS,
) -> NativeModel:
    """Load weights and adapters and make their context. Raises SettingRefused and LoadFailed."""
    native_log.install()
    native.llama_backend_init()
    settings.require_cache_types(config)
    settings.require_offload(config, read_build())
    weights = load_weights(path, config, on_progress)
    try:
        _require_supported(weights)
        if weights.embeds:
            settings.require_generation(config, attachments)
        shape = _choose_shape(weights, config)
        adapters = load_adapters(weights, attachments.adapters)
        context = make_context(weights, config, shape, threads)
        if weights.embeds:
            # Its requests name no adapters: those of the load config are always on.
            set_adapters(context, adapters, {name: it.scale for name, it in adapters.items()})
    except BaseException:
        weights.free()
        raise
    return NativeModel(weights, context, shape, adapters)


def require_same_vocabulary(target: Weights, draft: Weights) -> int:
    """How many token ids mean the same in both; ids from there on are padding of one of them.

    Raises SettingRefused, naming both, when the draft's tokens are others: its guesses would be
    nonsense. Sizes may differ by the padding that model families have at their end.
    """
    ours, theirs = (Vocabulary(native.llama_model_get_vocab(it.model)) for it in (target, draft))
    shared = min(ours.size, theirs.size)
    difference = ours.find_difference(theirs, shared)
    if difference is None and abs(ours.size - theirs.size) > _MOST_PADDING:
        difference = f"one has {ours.size} tokens, the other {theirs.size}"
    if difference is not None:
        raise SettingRefused(
            f"draft_model: {draft.path} has another vocabulary than {target.path}: {difference}.",
            param="load.draft_model",
            hint="Use a smaller model of the same family.",
        )
    return shared


def _choose_shape(weights: Weights, config: LoadConfig) -> ContextShape:
    facts = weights.facts()
    if weights.embeds:
        return shape_embedding(config, facts, MOST_EMBEDDED_AT_ONCE)
    most = config.eval_batch_size
    parameters = native.llama_model_n_params(weights.model)
    on_gpu = native.llama_supports_gpu_offload()
    chunk = most if on_gpu else choose_chunk(parameters, os.cpu_count() or 1, most)
    return shape_generation(config, facts, chunk)


def _require_supported(weights: Weights) -> None:
    """Raises LoadFailed for kinds of models that this engine would run wrongly."""
    kind = None
    if native.llama_model_has_encoder(weights.model):
        kind = "an encoder-decoder model"
    elif native.llama_model_is_diffusion(weights.model):
        kind = "a diffusion model"
    elif weights.pooling == "rank":
        kind = _find_fault(weights)
    if kind is not None:
        raise LoadFailed(
            f"{weights.path}: this is {kind}, which lmrun cannot run.",
            hint="Text models that continue a prompt, embedding models and rerankers can be run.",
        )


def _find_fault(weights: Weights) -> str | None:
    """Why a reranker's first output is no score, if so: llama.cpp would read it all the same."""
    outputs: int = native.llama_model_n_cls_out(weights.model)
    if outputs > 1 and weights.architecture not in _YES_AND_NO:
        return f"a classifier with {outputs} labels"
    _, shapes = read_shapes(weights.path)
    return None if _SCORE_TENSOR in shapes else "a reranker without a score in its output"


def _describe(
    weights: Weights, shape: ContextShape, vocabulary: Vocabulary, adapters: tuple[str, ...]
) -> ModelInfo:
    template: bytes | None = native.llama_model_chat_template(weights.model, None)
    return ModelInfo(
        engine="llama_cpp",
        engine_version=llama_cpp.__version__,
        type="embedding" if weights.embeds else "llm",
        architecture=weights.architecture,
        context_length=shape.context_length,
        max_sequences=shape.sequences,
        vocab_size=vocabulary.size,
        embedding_length=native.llama_model_n_embd_out(weights.model),
        chat_template=template.decode(errors="replace") if template else None,
        bos_token=vocabulary.bos_text,
        eos_token=vocabulary.eos_text,
        adapters=adapters,
        pooling=weights.pooling,
        fingerprint=digest_engine(shape.context_length),
    )
