"""LoRA adapters beside a model: loaded with it, set on a context by whoever decodes.

It knows no request and no sequence.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llama_cpp import llama_cpp as native

from lmrun.engines.base import AdapterFile
from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.loading.adapter_files import check_adapter, read_shapes
from lmrun.engines.llama_cpp.loading.weights import Weights
from lmrun.errors import SettingRefused


@dataclass(frozen=True, slots=True)
class Adapter:
    """A loaded adapter. `pointer`: llama.cpp's, valid as long as the weights. `scale`: default."""

    name: str
    pointer: int
    scale: float


def load_adapters(weights: Weights, files: Iterable[AdapterFile]) -> dict[str, Adapter]:
    """Every adapter by name; they are freed with the weights.

    Raises ModelInvalid for a damaged file, SettingRefused for one that does not fit the model.
    """
    chosen = list(files)
    architecture, shapes = read_shapes(weights.path) if chosen else ("", {})
    for file in chosen:
        check_adapter(Path(file.path), architecture, shapes)
    native_log.forget()
    return {file.name: _load_adapter(weights, file) for file in chosen}


def set_adapters(
    context: int, adapters: Mapping[str, Adapter], scales: Mapping[str, float]
) -> None:
    """Let the next decodes of `context` use these adapters, each with its scale, and no others."""
    names = sorted(name for name, scale in scales.items() if scale)
    pointers = (ctypes.c_void_p * len(names))(*(adapters[name].pointer for name in names))
    values = (ctypes.c_float * len(names))(*(scales[name] for name in names))
    array = ctypes.cast(pointers, ctypes.POINTER(native.llama_adapter_lora_p_ctypes))
    native.llama_set_adapters_lora(context, array, len(names), values)


def _load_adapter(weights: Weights, file: AdapterFile) -> Adapter:
    pointer = native.llama_adapter_lora_init(weights.model, os.fsencode(file.path))
    if not pointer:
        raise SettingRefused(
            f"load.adapters: {file.path} is no adapter for {weights.path}: "
            f"{native_log.read_reason()}.",
            param="load.adapters",
            hint="Use an adapter that was trained on this model.",
        )
    return Adapter(file.name, ctypes.cast(pointer, ctypes.c_void_p).value or 0, file.scale)
