"""What must be true of a LoRA adapter's file before llama.cpp may open it, and of its model's.

Format: https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py. llama.cpp looks
at less than is written here and ends the process at the first decode.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lmrun.catalog.gguf import check_tensors, find_parts
from lmrun.catalog.gguf_header import read_header
from lmrun.catalog.gguf_reader import (
    FLOAT32,
    STRING,
    RawGguf,
    Tensor,
    open_window,
    parse_container,
)
from lmrun.catalog.gguf_types import TENSOR_TYPES
from lmrun.errors import SettingRefused

_A, _B = ".lora_a", ".lora_b"
_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
_EMBEDDING = "token_embd.weight"
_INVOCATION = "adapter.alora.invocation_tokens"
_WRONG_MODEL = "Use an adapter that was trained on this model."

Shapes = dict[str, tuple[int, ...]]


def read_shapes(model: Path) -> tuple[str, Shapes]:
    """A model's architecture and the shape of each of its tensors, as GGUF orders them."""
    shapes: Shapes = {}
    header = read_header(model)
    for part in find_parts(model, header):
        with open_window(part) as window:
            raw = parse_container(window)
        shapes |= {tensor.name: tensor.dimensions for tensor in raw.tensors}
    return header.architecture, shapes


def check_adapter(path: Path, architecture: str, shapes: Shapes) -> None:
    """Raises ModelInvalid for a damaged file and SettingRefused for one that is no adapter, or
    none for a model of this architecture with tensors of these shapes."""
    with open_window(path) as window:
        raw = parse_container(window)
        _check_kind(path, raw)
        _check_architecture(path, _text(raw, "general.architecture"), architecture)
        check_tensors(raw)
        for name, a, b in _pair_tensors(path, raw.tensors):
            _check_pair(path, name, a, b, shapes)


def _check_kind(path: Path, raw: RawGguf) -> None:
    kind = _text(raw, "general.type") or "model"
    if kind != "adapter":
        raise _refuse(path, f"it is no adapter but a {kind}", "Name a LoRA adapter's GGUF file.")
    adapter = _text(raw, "adapter.type")
    if adapter != "lora":
        raise _refuse(path, f"it is an adapter of type {adapter!r}, not lora")
    alpha = raw.metadata.get("adapter.lora.alpha")
    if alpha is not None and alpha.type != FLOAT32:
        raise _refuse(path, "its adapter.lora.alpha is not a float32")
    if _INVOCATION in raw.metadata:
        raise _refuse(path, "it wants to be activated by tokens (aLoRA), which cannot be honoured")


def _check_architecture(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        reason = f"it is for the architecture {found!r}, the model has {wanted!r}"
        raise _refuse(path, reason, _WRONG_MODEL)


def _pair_tensors(path: Path, tensors: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name of the model's tensor, its A, its B)."""
    by_name = {tensor.name: tensor for tensor in tensors}
    for name, tensor in by_name.items():
        base = name.removesuffix(_A).removesuffix(_B)
        if base == name:
            raise _refuse(path, f"its tensor {name!r} is no part of a LoRA and would be ignored")
        if not (base + _A in by_name and base + _B in by_name):
            raise _refuse(path, f"its tensor {name!r} has no counterpart")
        if name.endswith(_A):
            yield base, tensor, by_name[base + _B]


def _check_pair(path: Path, name: str, a: Tensor, b: Tensor, shapes: Shapes) -> None:
    target = shapes.get(name)
    if target is None:
        raise _refuse(path, f"the model has no tensor {name!r}", _WRONG_MODEL)
    kinds = {TENSOR_TYPES[it.type].name for it in (a, b)}
    if len(target) < 2 or not kinds.issubset(_TYPES):
        raise _refuse(path, f"llama.cpp cannot apply its tensors for {name!r}")
    is_embedding = name.endswith(_EMBEDDING)
    rank = a.dimensions[0] if is_embedding else _at(a, 1)
    wanted_a = (rank, target[1]) if is_embedding else (target[0], rank)
    wanted_b = (rank, target[0]) if is_embedding else (rank, target[1])
    rest = target[2:]
    if _trim(a.dimensions) != _trim((*wanted_a, *rest)) or _trim(b.dimensions) != _trim(
        (*wanted_b, *rest)
    ):
        raise _refuse(path, f"its tensors for {name!r} do not fit the model's", _WRONG_MODEL)


def _at(tensor: Tensor, place: int) -> int:
    return tensor.dimensions[place] if len(tensor.dimensions) > place else 1


def _trim(dimensions: tuple[int, ...]) -> tuple[int, ...]:
    """Without the ones at the end, which mean nothing."""
    while dimensions and dimensions[-1] == 1:
        dimensions = dimensions[:-1]
    return dimensions


def _text(raw: RawGguf, key: str) -> str:
    """A key's text; empty when it is absent. llama.cpp ends the process for another type."""
    found = raw.metadata.get(key)
    if found is not None and found.type != STRING:
        raw.window.fail(f"{key} is no text")
    return str(found.value) if found is not None else ""


def _refuse(path: Path, reason: str, hint: str = "Convert it again, or leave it out.") -> Exception:
    return SettingRefused(f"load.adapters: {path}: {reason}.", param="load.adapters", hint=hint)
