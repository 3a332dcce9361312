"""What must be true of a projector file before native code may open it. It loads nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lmrun.catalog.gguf import check_tensors
from lmrun.catalog.gguf_reader import (
    BOOL,
    FLOAT32,
    STRING,
    TYPE_NAMES,
    UINT32,
    RawGguf,
    open_window,
    parse_container,
)
from lmrun.errors import SettingRefused

PARAM = "load.mmproj"
HINT = "Name the projector (`mmproj-….gguf`) that was published with this model."

_TYPES: dict[str, int] = {
    "clip.has_vision_encoder": BOOL,
    "clip.has_audio_encoder": BOOL,
    "clip.use_gelu": BOOL,
    "clip.use_silu": BOOL,
    "clip.projector_type": STRING,
    "clip.vision.projector_type": STRING,
    "clip.vision.attention.layer_norm_epsilon": FLOAT32,
    "clip.vision.attention.head_count_kv": UINT32,
    "clip.vision.projector.scale_factor": UINT32,
    "clip.vision.spatial_merge_size": UINT32,
    "clip.vision.preproc_image_size": UINT32,
    "clip.vision.image_min_pixels": UINT32,
    "clip.vision.image_max_pixels": UINT32,
}
"""llama.cpp reads these as these types and ends the process when one is of another."""
_RANGES: dict[str, tuple[int, int]] = {
    "clip.vision.embedding_length": (1, 2**16),
    "clip.vision.feed_forward_length": (0, 2**20),
    "clip.vision.block_count": (0, 512),
    "clip.vision.attention.head_count": (1, 1024),
    "clip.vision.projection_dim": (0, 2**24),
    "clip.vision.image_size": (0, 8192),
    "clip.vision.patch_size": (1, 8192),
}
"""The keys that every vision encoder must have, as uint32 in these ranges."""
_NEEDED = {
    kind: ("v.patch_embd.weight", "v.position_embd.weight", *more)
    for kind, more in {
        "mlp": ("mm.0.weight",),
        "idefics3": ("mm.model.fc.weight",),
        "gemma3": ("mm.input_projection.weight", "mm.soft_emb_norm.weight"),
    }.items()
}
"""Tensors of common kinds that llama.cpp uses without asking whether they are there."""
_ATTENTION = ("attn_q", "attn_k", "attn_v")


@dataclass(frozen=True, slots=True)
class Projector:
    """A projector file that may be opened. `kind`: how it joins images to text, in the words of
    its own header. `digest`: 32 bytes, other ones for every other file."""

    path: Path
    kind: str
    digest: bytes


def read_projector(path: Path) -> Projector:
    """Check a file's header. Raises ModelInvalid for one that is damaged, SettingRefused for one
    that is no projector for images."""
    with open_window(path) as window:
        raw = parse_container(window)
        for key, type_on_disk in (("general.architecture", STRING), *_TYPES.items()):
            _require_type(raw, key, type_on_disk)
        if _read(raw, "general.architecture") != "clip":
            raise refuse(path, "it is a model, no projector")
        if not _read(raw, "clip.has_vision_encoder"):
            raise refuse(path, "it has no vision encoder")
        for key, (low, high) in _RANGES.items():
            _require_number(raw, key, low, high)
        check_tensors(raw)
        _require_tensors(raw)
        head = hashlib.sha256(window.data[: raw.data_start])
    stat = path.stat()
    head.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    return Projector(path, _find_kind(raw), head.digest())


def refuse(path: Path, reason: str) -> SettingRefused:
    """The error for a projector that does not serve, for whoever raises it."""
    return SettingRefused(f"{PARAM}: {path} cannot be used: {reason}.", param=PARAM, hint=HINT)


def _find_kind(raw: RawGguf) -> str:
    kind = _read(raw, "clip.projector_type") or _read(raw, "clip.vision.projector_type")
    return str(kind or "")


def _require_tensors(raw: RawGguf) -> None:
    names = {tensor.name for tensor in raw.tensors}
    needed = list(_NEEDED.get(_find_kind(raw), ()))
    for name in names:
        block, found, _ = name.partition("attn_out.weight")
        if found and f"{block}attn_qkv.weight" not in names:
            needed += [f"{block}{part}.weight" for part in _ATTENTION]
    missing = [name for name in needed if name not in names]
    if missing:
        raw.window.fail(f"the tensor {min(missing)} is missing")


def _read(raw: RawGguf, key: str) -> object:
    found = raw.metadata.get(key)
    return None if found is None else found.value


def _require_type(raw: RawGguf, key: str, kind: int) -> None:
    found = raw.metadata.get(key)
    if found is not None and found.type != kind:
        raw.window.fail(f"{key} is {TYPE_NAMES[found.type]}, not {TYPE_NAMES[kind]}")


def _require_number(raw: RawGguf, key: str, low: int, high: int) -> None:
    _require_type(raw, key, UINT32)
    value = _read(raw, key)
    if not isinstance(value, int):
        raw.window.fail(f"the key {key} is missing")
    if not low <= value <= high:
        raw.window.fail(f"{key} is {value}, not {low} to {high}")
