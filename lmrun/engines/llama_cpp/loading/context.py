"""llama.cpp's contexts for loaded weights: the shared one and the strict one.

It knows no sequence. The strict context is the one of which `deterministic: strict` is promised:
nothing in it depends on the machine or on what else runs.
"""

from __future__ import annotations

from typing import Any

from llama_cpp import llama_cpp as native

from lmrun.catalog.memory import STRICT_CHUNK
from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.loading import settings
from lmrun.engines.llama_cpp.loading.shape import ContextShape, choose_context_length
from lmrun.engines.llama_cpp.loading.weights import Weights
from lmrun.errors import LoadFailed
from lmrun.settings.load import LoadConfig


def make_context(weights: Weights, config: LoadConfig, shape: ContextShape, threads: int) -> int:
    """llama.cpp's context for `shape`. Raises SettingRefused or LoadFailed with its reason."""
    native_log.forget()
    context = _create(weights, _context_parameters(weights, config, shape, threads))
    problems = native_log.read_problems()
    forced = next((line for line in problems if "forcing off" in line), None)
    if context and not (config.flash_attention and forced):
        return context
    if context:
        native.llama_free(context)
    reason = forced or native_log.read_reason()
    refused = settings.refuse_context(reason, config)
    raise refused or LoadFailed(f"{weights.path}: llama.cpp made no context: {reason}")


def make_strict_context(weights: Weights, config: LoadConfig, threads: int) -> int:
    """A second context of the same weights, for one sequence at a time.

    Flash attention is off, keys and values are f16. Raises LoadFailed when there is no memory.
    """
    strict = config.model_copy(
        update={"flash_attention": False, "k_cache_type": "f16", "v_cache_type": "f16"}
    )
    parameters = _context_parameters(weights, strict, shape_strict(weights, config), threads)
    native_log.forget()
    context = _create(weights, parameters | {"op_offload": False})
    if not context:
        raise LoadFailed(
            f"{weights.path}: no context for strict determinism: {native_log.read_reason()}"
        )
    return context


def shape_strict(weights: Weights, config: LoadConfig) -> ContextShape:
    """The shape of the strict context: one sequence, one size of slice."""
    length = choose_context_length(config, weights.facts())
    return ContextShape(
        context_length=length, sequences=1, pool=length, chunk=STRICT_CHUNK, spare=STRICT_CHUNK
    )


def _create(weights: Weights, values: dict[str, Any]) -> int | None:
    parameters = native.llama_context_default_params()
    for name, value in values.items():
        setattr(parameters, name, value)
    context: int | None = native.llama_init_from_model(weights.model, parameters)
    return context


def _context_parameters(
    weights: Weights, config: LoadConfig, shape: ContextShape, threads: int
) -> dict[str, Any]:
    embeds = weights.embeds
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
            if embeds and not weights.pools
            else native.LLAMA_POOLING_TYPE_UNSPECIFIED
        ),
        "kv_unified": shape.unified,
        "offload_kqv": config.offload_kv_cache_to_gpu is not False,
        "swa_full": True,
        "no_perf": True,
    }
