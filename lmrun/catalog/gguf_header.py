"""What a GGUF model says of itself, each key with its type and range. It knows no engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmrun.catalog.gguf_reader import (
    INT32,
    STRING,
    TYPE_NAMES,
    UINT16,
    UINT32,
    ArrayValue,
    RawGguf,
    Value,
    open_window,
    parse_container,
)
from lmrun.catalog.gguf_types import FILE_TYPES, TENSOR_TYPES

MAX_TEMPLATE_BYTES = 256 * 1000
MAX_BLOCKS = 512
MAX_HEADS = 1024
MAX_EXPERTS = 512
MAX_WIDTH = 2**24

ModelType = Literal["llm", "embedding", "vlm"]
Role = Literal["model", "part", "mmproj", "adapter", "other"]

_RANGES: dict[str, tuple[int, int]] = {
    "context_length": (1, 2**31 - 1),
    "embedding_length": (1, MAX_WIDTH),
    "block_count": (1, MAX_BLOCKS),
    "attention.key_length": (1, MAX_WIDTH),
    "attention.value_length": (1, MAX_WIDTH),
    "expert_count": (0, MAX_EXPERTS),
    "expert_used_count": (0, MAX_EXPERTS),
    "pooling_type": (0, 4),
}
"""Keys below `<architecture>.` that must be a uint32 in this range where they are present."""
_REQUIRED = ("context_length", "embedding_length", "block_count")
_ENCODERS = ("bert", "t5encoder", "gemma-embedding")
"""Architectures that only embed; every one of the BERT family has `bert` in its name."""
_SIGHTED = ("vl", "vlmoe", "mllama")
_RECURRENT = (".ssm.", ".wkv.")
"""Parts of the keys that architectures without attention have."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A model file's description.

    `role`: `part` is a later part of a split model, `other` a bare vocabulary and the like.
    `heads_kv`: key/value heads of every layer. `key_length`, `value_length`: per head.
    `expert_used_count`: experts per token, 0 for a dense model. `file_size`: bytes of this one
    file.
    """

    role: Role
    type: ModelType
    architecture: str
    name: str | None
    size_label: str | None
    quantization: str | None
    context_length: int
    block_count: int
    embedding_length: int
    head_count: int
    heads_kv: tuple[int, ...]
    key_length: int
    value_length: int
    is_encoder: bool
    expert_used_count: int
    tokenizer: str | None
    chat_template: str | None
    split_no: int
    split_count: int
    file_size: int

    @property
    def head_count_kv(self) -> int:
        return max(self.heads_kv, default=0)


def read_header(path: Path) -> GgufHeader:
    """Describe `path`, reading only its header. Raises ModelInvalid, and nothing else."""
    with open_window(path) as window:
        return describe(parse_container(window))


def describe(raw: RawGguf) -> GgufHeader:
    """The typed view of a container. Raises ModelInvalid for missing keys and impossible values."""
    keys = _Keys(raw)
    role = _find_role(keys)
    if role in ("part", "other"):
        return _describe_fragment(keys, role)
    if role == "adapter":
        return _describe_fragment(keys, role, keys.text("general.architecture") or "")
    architecture = keys.text("general.architecture", required=True) or ""
    if role == "mmproj":
        return _describe_fragment(keys, role, architecture)
    return _describe_model(keys, architecture)


class _Keys:
    """Typed access to a container's keys."""

    def __init__(self, raw: RawGguf) -> None:
        self.raw = raw
        self.fail = raw.window.fail

    def text(self, key: str, *, required: bool = False) -> str | None:
        found = self._get(key, required, STRING)
        return None if found is None else str(found.value)

    def uint(self, key: str, low: int, high: int, *, required: bool = False) -> int | None:
        found = self._get(key, required, UINT32)
        return None if found is None else self._check(key, found.value, low, high)

    def small(self, key: str) -> int | None:
        """A uint16, which only the split keys are."""
        found = self._get(key, False, UINT16)
        return None if found is None else self._check(key, found.value, 0, 2**16 - 1)

    def per_layer(self, key: str, layers: int, low: int, high: int) -> tuple[int, ...] | None:
        """One uint32 for all layers, or an array of one per layer; there a 0 is allowed."""
        found = self.raw.metadata.get(key)
        if found is None:
            return None
        if not isinstance(found.value, ArrayValue):
            return (self.uint(key, low, high) or 0,) * layers
        array = found.value
        if array.element_type not in (UINT32, INT32) or array.count < layers:
            self.fail(f"{key} is not one integer for each of the {layers} layers")
        return tuple(self._check(key, value, 0, high) for value in self.raw.numbers(array))[:layers]

    def _get(self, key: str, required: bool, kind: int) -> Value | None:
        found = self.raw.metadata.get(key)
        if found is None and required:
            self.fail(f"the key {key} is missing")
        if found is not None and found.type != kind:
            self.fail(f"{key} has type {TYPE_NAMES[found.type]}, not {TYPE_NAMES[kind]}")
        return found

    def _check(self, key: str, value: object, low: int, high: int) -> int:
        if not isinstance(value, int) or not low <= value <= high:
            self.fail(f"{key} is {value}, not {low} to {high}")
        return value


def _find_role(keys: _Keys) -> Role:
    if keys.small("split.no"):
        return "part"
    kind = keys.text("general.type") or "model"
    if kind == "mmproj" or keys.text("general.architecture") == "clip":
        return "mmproj"
    known: dict[str, Role] = {"model": "model", "adapter": "adapter"}
    return known.get(kind, "other")


def _describe_fragment(keys: _Keys, role: Role, architecture: str = "") -> GgufHeader:
    """A file that is no model by itself: most keys are absent."""
    return GgufHeader(
        role=role,
        type="llm",
        architecture=architecture,
        name=keys.text("general.name"),
        size_label=keys.text("general.size_label"),
        quantization=_find_quantization(keys),
        context_length=0,
        block_count=0,
        embedding_length=0,
        head_count=0,
        heads_kv=(),
        key_length=0,
        value_length=0,
        is_encoder=False,
        expert_used_count=0,
        tokenizer=None,
        chat_template=None,
        split_no=keys.small("split.no") or 0,
        split_count=keys.small("split.count") or 1,
        file_size=keys.raw.window.size,
    )


def _describe_model(keys: _Keys, architecture: str) -> GgufHeader:
    sizes = {
        name: keys.uint(f"{architecture}.{name}", low, high, required=name in _REQUIRED)
        for name, (low, high) in _RANGES.items()
    }
    blocks, width = sizes["block_count"] or 0, sizes["embedding_length"] or 0
    heads, heads_kv = _find_heads(keys, architecture, blocks)
    head_width = width // heads if heads else 0
    _check_experts(keys, sizes["expert_count"] or 0, sizes["expert_used_count"] or 0)
    return GgufHeader(
        role="model",
        type=_find_type(architecture, sizes["pooling_type"]),
        architecture=architecture,
        name=keys.text("general.name"),
        size_label=keys.text("general.size_label"),
        quantization=_find_quantization(keys),
        context_length=sizes["context_length"] or 0,
        block_count=blocks,
        embedding_length=width,
        head_count=heads,
        heads_kv=heads_kv,
        key_length=sizes["attention.key_length"] or head_width,
        value_length=sizes["attention.value_length"] or head_width,
        is_encoder=_is_encoder(architecture),
        expert_used_count=sizes["expert_used_count"] or 0,
        tokenizer=keys.text("tokenizer.ggml.model"),
        chat_template=_find_template(keys),
        split_no=0,
        split_count=keys.small("split.count") or 1,
        file_size=keys.raw.window.size,
    )


def _find_heads(keys: _Keys, architecture: str, blocks: int) -> tuple[int, tuple[int, ...]]:
    """Attention heads (the most of any layer) and key/value heads of each layer."""
    prefix = f"{architecture}.attention"
    is_recurrent = any(
        f"{architecture}{part}" in key for key in keys.raw.metadata for part in _RECURRENT
    )
    low = 0 if is_recurrent else 1
    heads = keys.per_layer(f"{prefix}.head_count", blocks, low, MAX_HEADS)
    if heads is None:
        if not is_recurrent:
            keys.fail(f"the key {prefix}.head_count is missing")
        heads = (0,) * blocks
    heads_kv = keys.per_layer(f"{prefix}.head_count_kv", blocks, low, MAX_HEADS) or heads
    for of_layer, kv_of_layer in zip(heads, heads_kv, strict=True):
        if kv_of_layer and of_layer % kv_of_layer:
            keys.fail(f"{of_layer} heads cannot share {kv_of_layer} key/value heads")
    return max(heads), heads_kv


def _check_experts(keys: _Keys, count: int, used: int) -> None:
    if used > count or (count > 0 and used == 0):
        keys.fail(f"{used} of {count} experts are used, which is impossible")


def _find_type(architecture: str, pooling: int | None) -> ModelType:
    """Pooling makes a vector of a text: whatever has it embeds (or ranks)."""
    if _is_encoder(architecture) or pooling:
        return "embedding"
    return "vlm" if architecture.endswith(_SIGHTED) else "llm"


def _is_encoder(architecture: str) -> bool:
    return any(name in architecture for name in _ENCODERS)


def _find_quantization(keys: _Keys) -> str | None:
    """What the file claims, else the type that holds most of its weights."""
    claimed = keys.uint("general.file_type", 0, 2**32 - 1)
    if claimed in FILE_TYPES:
        return FILE_TYPES[claimed]
    weights: Counter[int] = Counter()
    for tensor in keys.raw.tensors:
        elements = 1
        for dimension in tensor.dimensions:
            elements *= dimension
        weights[tensor.type] += elements
    if not weights:
        return None
    (dominant, _), *_ = weights.most_common(1)
    return TENSOR_TYPES[dominant].name if dominant in TENSOR_TYPES else None


def _find_template(keys: _Keys) -> str | None:
    template = keys.text("tokenizer.chat_template")
    if template is not None and len(template.encode()) > MAX_TEMPLATE_BYTES:
        keys.fail(f"the chat template is longer than {MAX_TEMPLATE_BYTES} bytes")
    return template
