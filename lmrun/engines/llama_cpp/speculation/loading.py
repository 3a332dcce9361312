"""Loading a draft model beside the model it guesses for. It guesses nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from llama_cpp import llama_cpp as native

from lmrun.catalog.memory import choose_chunk
from lmrun.engines.llama_cpp.loading.context import make_context
from lmrun.engines.llama_cpp.loading.native import NativeModel, require_same_vocabulary
from lmrun.engines.llama_cpp.loading.shape import ContextShape
from lmrun.engines.llama_cpp.loading.weights import Weights, load_weights
from lmrun.engines.llama_cpp.speculation.draft_model import DraftModel
from lmrun.errors import SettingRefused
from lmrun.settings.load import LoadConfig

_INHERITED = (
    "gpu",
    "offload_kv_cache_to_gpu",
    "flash_attention",
    "eval_batch_size",
    "try_mmap",
    "keep_model_in_memory",
)


def load_draft_model(
    path: Path,
    target: NativeModel,
    config: LoadConfig,
    threads: int,
    on_progress: Callable[[float], None],
) -> DraftModel:
    """Load `path` to guess for `target`, which was loaded with `config`.

    Its context is as long as the target's, or as long as it was trained for. What concerns the
    target's own layers (experts, RoPE, adapters, cache types) does not apply to it. Raises
    SettingRefused, naming both files, for a model that cannot guess for this one, LoadFailed
    for one that cannot be loaded.
    """
    own = LoadConfig(**{name: getattr(config, name) for name in _INHERITED})
    weights = load_weights(path, own, on_progress)
    try:
        _require_draftable(weights, target)
        shared = require_same_vocabulary(target.weights, weights)
        shape = _choose_shape(weights, target, own)
        context = make_context(weights, own, shape, threads)
    except BaseException:
        weights.free()
        raise
    return DraftModel(NativeModel(weights, context, shape), shared)


def _require_draftable(weights: Weights, target: NativeModel) -> None:
    """Raises SettingRefused where a wrong guess cannot be taken back, or none can be made."""
    kind = None
    if native.llama_model_is_recurrent(weights.model) or native.llama_model_is_hybrid(
        weights.model
    ):
        kind = "a recurrent model, whose state cannot be cut after a wrong guess"
    elif weights.embeds or native.llama_model_has_encoder(weights.model):
        kind = "a model that does not continue texts"
    elif native.llama_model_is_diffusion(weights.model):
        kind = "a diffusion model"
    if kind is not None:
        raise SettingRefused(
            f"draft_model: {weights.path} cannot guess for {target.weights.path}: it is {kind}.",
            param="load.draft_model",
            hint="Use a small transformer with the same vocabulary.",
        )


def _choose_shape(weights: Weights, target: NativeModel, config: LoadConfig) -> ContextShape:
    """A KV cache of its own for each sequence: they share nothing and slow each other less."""
    sequences = target.shape.sequences
    length = min(target.shape.context_length, weights.facts().trained_context)
    most = max(config.eval_batch_size, sequences)
    parameters = native.llama_model_n_params(weights.model)
    chunk = most
    if not native.llama_supports_gpu_offload():
        chunk = max(choose_chunk(parameters, os.cpu_count() or 1, most), sequences)
    return ContextShape(
        context_length=length,
        sequences=sequences,
        pool=length * sequences,
        chunk=chunk,
        unified=False,
    )
