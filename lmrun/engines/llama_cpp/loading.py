"""Getting a model and its context into memory and out again. It knows no sequence."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as native

from lmrun.engines.base import ModelInfo
from lmrun.engines.llama_cpp import native_log, settings
from lmrun.engines.llama_cpp.slices import choose_chunk
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.errors import LoadFailed
from lmrun.settings.load import LoadConfig

MOST_EMBEDDED_AT_ONCE = 64
_META_BYTES = 256
# llama.cpp names a RoPE type for these too, and never uses it.
_LEARNED_POSITIONS = ("bert", "starcoder")
_POOLING_RANK = "4"
_POOLING_NONE = "0"


@dataclass(slots=True)
class Weights:
    """A model in memory, without a context yet."""

    path: Path
    model: int

    def read(self, key: str) -> str | None:
        """A metadata value as text, cut at 255 bytes; `{arch}` stands for the architecture."""
        if "{arch}" in key:
            key = key.replace("{arch}", self.read("general.architecture") or "")
        buffer = ctypes.create_string_buffer(_META_BYTES)
        length = native.llama_model_meta_val_str(self.model, key.encode(), buffer, _META_BYTES)
        return buffer.value.decode(errors="replace") if length >= 0 else None

    @property
    def embeds(self) -> bool:
        """Made for embeddings: it pools its outputs, or sees the tokens after a token too."""
        pools = self.read("{arch}.pooling_type") not in (None, _POOLING_NONE)
        return pools or self.read("{arch}.attention.causal") == "false"

    def facts(self) -> settings.ModelFacts:
        scaled_from = self.read("{arch}.rope.scaling.original_context_length")
        return settings.ModelFacts(
            trained_context=native.llama_model_n_ctx_train(self.model),
            rotary=(
                native.llama_model_rope_type(self.model) != native.LLAMA_ROPE_TYPE_NONE
                and self.read("general.architecture") not in _LEARNED_POSITIONS
            ),
            scaled_from=int(scaled_from) if scaled_from else None,
        )

    def free(self) -> None:
        native.llama_model_free(self.model)


class NativeModel:
    """Weights with a context: what `info` says, its vocabulary, its threads. Free it with `close`.

    `model`, `context`, `memory`: llama.cpp's pointers; `memory` is None for an encoder.
    `asynchronous`: a decode may return before it is done.
    """

    def __init__(self, weights: Weights, context: int, shape: settings.ContextShape) -> None:
        self.model = weights.model
        self.context = context
        self.shape = shape
        self.memory: int | None = native.llama_get_memory(context)
        self.vocabulary = Vocabulary(native.llama_model_get_vocab(weights.model))
        self.asynchronous: bool = native.llama_supports_gpu_offload()
        self.info = _describe(weights, shape, self.vocabulary)

    def set_threads(self, threads: int) -> None:
        native.llama_set_n_threads(self.context, threads, threads)

    def close(self) -> None:
        """Twice is once."""
        if self.context:
            native.llama_free(self.context)
            native.llama_model_free(self.model)
            self.context = self.model = 0


def load_native(
    path: Path, config: LoadConfig, threads: int, on_progress: Callable[[float], None]
) -> NativeModel:
    """Load weights and make their context. Raises SettingRefused and LoadFailed."""
    native_log.install()
    native.llama_backend_init()
    settings.require_cache_types(config)
    weights = load_weights(path, config, on_progress)
    try:
        _require_supported(weights)
        shape = _choose_shape(weights, config)
        context = make_context(weights, config, shape, threads)
    except BaseException:
        weights.free()
        raise
    return NativeModel(weights, context, shape)


def read_build() -> settings.Build:
    return settings.Build(
        gpu_offload=native.llama_supports_gpu_offload(),
        mmap=native.llama_supports_mmap(),
        mlock=native.llama_supports_mlock(),
    )


def load_weights(path: Path, config: LoadConfig, on_progress: Callable[[float], None]) -> Weights:
    """The weights alone. What `on_progress` raises ends the load and is raised here."""
    build = read_build()
    raised: list[BaseException] = []

    def report(fraction: float, user_data: object) -> bool:
        try:
            on_progress(min(max(fraction, 0.0), 1.0))
        except BaseException as error:  # ctypes would print it and go on
            raised.append(error)
        return not raised

    parameters = native.llama_model_default_params()
    parameters.load_mode = settings.choose_load_mode(config, build)
    parameters.n_gpu_layers = settings.choose_gpu_layers(config, build, _read_layers(path, config))
    parameters.progress_callback = native.llama_progress_callback(report)
    model = native.llama_model_load_from_file(os.fsencode(path), parameters)
    if raised:
        if model:
            native.llama_model_free(model)
        raise raised[0]
    if not model:
        raise LoadFailed(f"{path}: llama.cpp refused the model: {native_log.read_reason()}")
    return _require_locked(Weights(path, model), config)


def make_context(
    weights: Weights, config: LoadConfig, shape: settings.ContextShape, threads: int
) -> int:
    """llama.cpp's context for `shape`. Raises SettingRefused or LoadFailed with its reason."""
    parameters = native.llama_context_default_params()
    for name, value in _context_parameters(weights, config, shape, threads).items():
        setattr(parameters, name, value)
    context: int | None = native.llama_init_from_model(weights.model, parameters)
    problems = native_log.read_problems()
    forced = next((line for line in problems if "forcing off" in line), None)
    if context and not (config.flash_attention and forced):
        return context
    if context:
        native.llama_free(context)
    reason = forced or native_log.read_reason()
    refused = settings.refuse_context(reason, config)
    raise refused or LoadFailed(f"{weights.path}: llama.cpp made no context: {reason}")


def _context_parameters(
    weights: Weights, config: LoadConfig, shape: settings.ContextShape, threads: int
) -> dict[str, Any]:
    embeds = weights.embeds
    pooled = weights.read("{arch}.pooling_type") not in (None, _POOLING_NONE)
    flash = native.LLAMA_FLASH_ATTN_TYPE_ENABLED
    return {
        # llama.cpp takes no larger batch than the context, and ends the process for one.
        "n_ctx": max(shape.pool, shape.capacity),
        "n_batch": shape.capacity,
        "n_ubatch": shape.capacity,
        "n_seq_max": shape.sequences + shape.scratch,
        "n_outputs_max": 0 if embeds else shape.outputs,
        "n_threads": threads,
        "n_threads_batch": threads,
        "flash_attn_type": (
            flash if config.flash_attention else native.LLAMA_FLASH_ATTN_TYPE_DISABLED
        ),
        "type_k": settings.CACHE_TYPES[config.k_cache_type],
        "type_v": settings.CACHE_TYPES[config.v_cache_type],
        "rope_freq_base": config.rope_frequency_base or 0.0,
        "rope_freq_scale": config.rope_frequency_scale or 0.0,
        "embeddings": embeds,
        "pooling_type": (
            native.LLAMA_POOLING_TYPE_MEAN
            if embeds and not pooled
            else native.LLAMA_POOLING_TYPE_UNSPECIFIED
        ),
        "kv_unified": shape.unified,
        "swa_full": True,
        "no_perf": True,
    }


def _choose_shape(weights: Weights, config: LoadConfig) -> settings.ContextShape:
    facts = weights.facts()
    if weights.embeds:
        return settings.shape_embedding(config, facts, MOST_EMBEDDED_AT_ONCE)
    most = config.eval_batch_size
    parameters = native.llama_model_n_params(weights.model)
    on_gpu = native.llama_supports_gpu_offload()
    chunk = most if on_gpu else choose_chunk(parameters, os.cpu_count() or 1, most)
    return settings.shape_generation(config, facts, chunk)


def _require_supported(weights: Weights) -> None:
    """Raises LoadFailed for kinds of models that this engine would run wrongly."""
    kind = None
    if native.llama_model_has_encoder(weights.model):
        kind = "an encoder-decoder model"
    elif native.llama_model_is_diffusion(weights.model):
        kind = "a diffusion model"
    elif weights.read("{arch}.pooling_type") == _POOLING_RANK:
        kind = "a reranker"
    if kind is not None:
        raise LoadFailed(
            f"{weights.path}: this is {kind}, which lmrun cannot run.",
            hint="Text models that continue a prompt and embedding models can be run.",
        )


def _require_locked(weights: Weights, config: LoadConfig) -> Weights:
    try:
        if config.keep_model_in_memory:
            settings.require_locked(native_log.read_problems())
    except BaseException:
        weights.free()
        raise
    return weights


def _read_layers(path: Path, config: LoadConfig) -> int:
    """The layer count, which a share of the layers needs before the load; else 0, unread."""
    if config.gpu is None or isinstance(config.gpu.ratio, str):
        return 0
    parameters = native.llama_model_default_params()
    parameters.vocab_only = True
    model = native.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise LoadFailed(f"{path}: llama.cpp refused the model: {native_log.read_reason()}")
    weights = Weights(path, model)
    layers = int(weights.read("{arch}.block_count") or 0)
    weights.free()
    return layers


def _describe(weights: Weights, shape: settings.ContextShape, vocabulary: Vocabulary) -> ModelInfo:
    template: bytes | None = native.llama_model_chat_template(weights.model, None)
    return ModelInfo(
        engine="llama_cpp",
        engine_version=llama_cpp.__version__,
        type="embedding" if weights.embeds else "llm",
        architecture=weights.read("general.architecture") or "",
        context_length=shape.context_length,
        max_sequences=shape.sequences,
        vocab_size=vocabulary.size,
        embedding_length=native.llama_model_n_embd_out(weights.model),
        chat_template=template.decode(errors="replace") if template else None,
        bos_token=vocabulary.bos_text,
        eos_token=vocabulary.eos_text,
    )
