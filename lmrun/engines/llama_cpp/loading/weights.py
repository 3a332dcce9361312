"""A model's weights in memory: loaded, read and freed. It knows no context and no sequence."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as native

from lmrun.engines.base import Pooling
from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.loading import gpus, settings
from lmrun.engines.llama_cpp.loading.page_cache import read_in_huge_pages
from lmrun.engines.llama_cpp.loading.shape import ModelFacts
from lmrun.errors import LoadFailed, SettingRefused
from lmrun.settings.load import LoadConfig

_META_BYTES = 256
# llama.cpp names a RoPE type for these too, and never uses it.
_LEARNED_POSITIONS = ("bert", "starcoder")
_POOLING_NONE = "0"
_POOLINGS: dict[str, Pooling] = {"1": "mean", "2": "cls", "3": "last", "4": "rank"}
_OVERRIDE_INT = 0
_READ_SHARE = 0.5
"""How much of a load's progress the reading of a mapped file is; llama.cpp then does the rest."""


@dataclass(slots=True)
class Weights:
    """A model in memory. `model`: llama.cpp's pointer to it."""

    path: Path
    model: int

    def read(self, key: str) -> str | None:
        """A metadata value as text, cut at 255 bytes; `{arch}` stands for the architecture."""
        if "{arch}" in key:
            key = key.replace("{arch}", self.architecture)
        buffer = ctypes.create_string_buffer(_META_BYTES)
        length = native.llama_model_meta_val_str(self.model, key.encode(), buffer, _META_BYTES)
        return buffer.value.decode(errors="replace") if length >= 0 else None

    @property
    def architecture(self) -> str:
        return self.read("general.architecture") or ""

    @property
    def embeds(self) -> bool:
        """Made for embeddings: it pools its outputs, or sees the tokens after a token too."""
        return self.pools or self.read("{arch}.attention.causal") == "false"

    @property
    def pools(self) -> bool:
        """Its file says how the outputs of a text become one vector."""
        return self.read("{arch}.pooling_type") not in (None, _POOLING_NONE)

    @property
    def pooling(self) -> Pooling | None:
        """How the outputs of a text become one vector; the mean where the file does not say."""
        if not self.embeds:
            return None
        return _POOLINGS.get(self.read("{arch}.pooling_type") or _POOLING_NONE, "mean")

    def facts(self) -> ModelFacts:
        scaled_from = self.read("{arch}.rope.scaling.original_context_length")
        return ModelFacts(
            trained_context=native.llama_model_n_ctx_train(self.model),
            rotary=(
                native.llama_model_rope_type(self.model) != native.LLAMA_ROPE_TYPE_NONE
                and self.architecture not in _LEARNED_POSITIONS
            ),
            scaled_from=int(scaled_from) if scaled_from else None,
        )

    def free(self) -> None:
        """Twice is once."""
        if self.model:
            native.llama_model_free(self.model)
            self.model = 0


def read_build() -> settings.Build:
    return settings.Build(
        gpu_offload=native.llama_supports_gpu_offload(),
        mmap=native.llama_supports_mmap(),
        mlock=native.llama_supports_mlock(),
        gpus=tuple(gpus.read_free_bytes()),
    )


def load_weights(path: Path, config: LoadConfig, on_progress: Callable[[float], None]) -> Weights:
    """The weights alone. What `on_progress` raises ends the load and is raised here.

    Raises SettingRefused for what this build or model cannot do, LoadFailed for anything else.
    """
    build = read_build()
    read = 0.0
    if settings.is_mapped(config, build) and not build.gpu_offload:
        was_read = read_in_huge_pages(path, lambda done: on_progress(_READ_SHARE * done))
        read = _READ_SHARE if was_read else 0.0
    raised: list[BaseException] = []

    def report(fraction: float, user_data: object) -> bool:
        try:
            on_progress(read + (1 - read) * min(max(fraction, 0.0), 1.0))
        except BaseException as error:  # ctypes would print it and go on
            raised.append(error)
        return not raised

    parameters = _model_parameters(path, config, build)
    parameters.progress_callback = native.llama_progress_callback(report)
    model = native.llama_model_load_from_file(os.fsencode(path), parameters)
    if raised:
        if model:
            native.llama_model_free(model)
        raise raised[0]
    if not model:
        raise LoadFailed(f"{path}: llama.cpp refused the model: {native_log.read_reason()}")
    return _require_locked(Weights(path, model), config)


def _model_parameters(path: Path, config: LoadConfig, build: settings.Build) -> Any:
    """`llama_model_params`; the arrays that it points to live as long as it does."""
    parameters = native.llama_model_default_params()
    parameters.load_mode = settings.choose_load_mode(config, build)
    layers = experts = 0
    architecture = ""
    if settings.needs_a_look(config):
        layers, experts, architecture = _look_into(path)
    parameters.n_gpu_layers = settings.choose_gpu_layers(config, build, layers)
    split = settings.choose_split(config, build, path.stat().st_size)
    if split is not None:
        slots = native.llama_max_devices()
        parameters.tensor_split = (ctypes.c_float * slots)(*split[:slots])
    if config.num_experts is not None:
        settings.require_experts(config.num_experts, experts)
        parameters.kv_overrides = _override(f"{architecture}.expert_used_count", config.num_experts)
    return parameters


def _override(key: str, value: int) -> Any:
    """One changed metadata value, and the empty one that ends the list."""
    overrides: Any = (native.llama_model_kv_override * 2)()
    overrides[0].tag = _OVERRIDE_INT
    overrides[0].key = key.encode()
    overrides[0].value.val_i64 = value
    return overrides


def _look_into(path: Path) -> tuple[int, int, str]:
    """Layers, experts per layer and architecture, which some settings need before the load."""
    parameters = native.llama_model_default_params()
    parameters.vocab_only = True
    model = native.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise LoadFailed(f"{path}: llama.cpp refused the model: {native_log.read_reason()}")
    weights = Weights(path, model)
    layers = int(weights.read("{arch}.block_count") or 0)
    experts = int(weights.read("{arch}.expert_count") or 0)
    architecture = weights.architecture
    weights.free()
    return layers, experts, architecture


def _require_locked(weights: Weights, config: LoadConfig) -> Weights:
    if config.keep_model_in_memory:
        try:
            settings.require_locked(native_log.read_problems())
        except SettingRefused:
            weights.free()
            raise
    return weights
