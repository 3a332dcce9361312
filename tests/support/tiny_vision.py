"""Tiny random projectors as GGUF files, for the tiny llama: with one, it sees. Made from a seed.

A vision transformer of one used layer on 28 x 28 pixels in 16 patches. What it sees means nothing;
that equal images give equal embeddings is what tests ask of it. It knows nothing of lmrun.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.gguf_files import finish

Projector = Literal["mlp", "idefics3", "gemma3"]

IMAGE_SIDE, PATCH_SIDE = 28, 7
PATCHES = (IMAGE_SIDE // PATCH_SIDE) ** 2
WIDTH, HEADS, FEED_FORWARD, BLOCKS = 32, 2, 64, 2
MERGED_SIDE = 2
"""Patches that idefics3 and gemma3 merge into one token, in each direction."""

MARKERS = ("\n\n", "<fake_token_around_image>", "<global-img>")
"""Tokens that idefics3 needs in the text model's vocabulary."""

Matrix = NDArray[np.float32]


def write_tiny_projector(
    path: Path,
    *,
    kind: Projector = "mlp",
    embedding: int = 64,
    seed: int = 0,
    longest_edge: int = 4 * IMAGE_SIDE,
) -> Path:
    """Write a projector to `path` and return it. `embedding`: width of the text model's vectors.

    `mlp` (LLaVA's) gives 16 tokens for every image. `idefics3` (SmolVLM's) gives 4 tokens per tile
    of an image scaled to `longest_edge`. `gemma3` gives 4 that look at each other: not causal.
    """
    writer = gguf.GGUFWriter(path, "clip")
    _add_header(writer, kind, embedding, longest_edge)
    random = np.random.default_rng(seed)
    for name, values in (*_make_encoder(random), *_make_projector(random, kind, embedding)):
        writer.add_tensor(name, values)
    finish(writer)
    return path


def _add_header(
    writer: gguf.GGUFWriter, kind: Projector, embedding: int, longest_edge: int
) -> None:
    writer.add_type("mmproj")
    writer.add_name(f"tiny-{kind}")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(kind)
    writer.add_vision_projection_dim(embedding)
    writer.add_vision_image_size(IMAGE_SIDE)
    writer.add_vision_patch_size(PATCH_SIDE)
    writer.add_vision_embedding_length(WIDTH)
    writer.add_vision_feed_forward_length(FEED_FORWARD)
    writer.add_vision_block_count(BLOCKS)
    writer.add_vision_head_count(HEADS)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)
    if kind != "mlp":
        writer.add_vision_projector_scale_factor(MERGED_SIDE)
    if kind == "idefics3":
        writer.add_vision_preproc_image_size(longest_edge)


def _make_encoder(random: np.random.Generator) -> Iterator[tuple[str, Matrix]]:
    patch = _weights(random, WIDTH, 3 * PATCH_SIDE**2)
    yield "v.patch_embd.weight", patch.reshape(WIDTH, 3, PATCH_SIDE, PATCH_SIDE)
    yield "v.patch_embd.bias", _zeros(WIDTH)
    yield "v.position_embd.weight", _weights(random, PATCHES, WIDTH)
    for block in range(BLOCKS):
        for name, rows, columns in (
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, WIDTH),
            ("attn_v", WIDTH, WIDTH),
            ("attn_out", WIDTH, WIDTH),
            ("ffn_up", FEED_FORWARD, WIDTH),
            ("ffn_down", WIDTH, FEED_FORWARD),
        ):
            yield f"v.blk.{block}.{name}.weight", _weights(random, rows, columns)
            yield f"v.blk.{block}.{name}.bias", _zeros(rows)
        for norm in ("ln1", "ln2"):
            yield f"v.blk.{block}.{norm}.weight", _ones(WIDTH)
            yield f"v.blk.{block}.{norm}.bias", _zeros(WIDTH)
    yield "v.post_ln.weight", _ones(WIDTH)
    yield "v.post_ln.bias", _zeros(WIDTH)


def _make_projector(
    random: np.random.Generator, kind: Projector, embedding: int
) -> Iterator[tuple[str, Matrix]]:
    if kind == "mlp":
        yield "mm.0.weight", _weights(random, FEED_FORWARD, WIDTH)
        yield "mm.0.bias", _zeros(FEED_FORWARD)
        yield "mm.2.weight", _weights(random, embedding, FEED_FORWARD)
        yield "mm.2.bias", _zeros(embedding)
    elif kind == "idefics3":
        yield "mm.model.fc.weight", _weights(random, embedding, WIDTH * MERGED_SIDE**2)
    else:
        yield "mm.input_projection.weight", _weights(random, WIDTH, embedding)
        yield "mm.soft_emb_norm.weight", _ones(WIDTH)


def _weights(random: np.random.Generator, rows: int, columns: int) -> Matrix:
    scaled = random.standard_normal((rows, columns), dtype=np.float32)
    scaled *= 2 / columns**0.5
    return scaled


def _ones(length: int) -> Matrix:
    return np.ones(length, dtype=np.float32)


def _zeros(length: int) -> Matrix:
    return np.zeros(length, dtype=np.float32)
