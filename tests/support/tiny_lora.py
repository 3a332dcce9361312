"""LoRA adapters for the tiny models, made from a seed. It knows nothing of lmrun."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.gguf_files import finish

RANK = 4
EMBEDDING = 64

Matrix = NDArray[np.float32]


def write_tiny_lora(
    path: Path,
    *,
    seed: int = 0,
    strength: float = 1.0,
    architecture: str = "llama",
    kind: str = "lora",
    width: int = EMBEDDING,
    layers: int = 4,
    extra: Mapping[str, Matrix] | None = None,
) -> Path:
    """Write an adapter for the query projection of every layer; `width`: the model's embedding.

    `extra`: further tensors, by name. The same arguments give the same bytes.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", float(RANK))
    random = np.random.default_rng(seed)
    for layer in range(layers):
        name = f"blk.{layer}.attn_q.weight"
        a = random.standard_normal((RANK, width), dtype=np.float32) / width**0.5
        b = random.standard_normal((width, RANK), dtype=np.float32) * np.float32(strength)
        writer.add_tensor(f"{name}.lora_a", a.astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", b)
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    finish(writer)
    return path
