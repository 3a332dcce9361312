"""How much memory a load will take, from the headers of its files. It measures nothing.

The formulas for compute buffers were fitted to what llama.cpp logs for its worst-case graph: the
largest of what the output layer, the feed-forward part and attention need at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lmrun.catalog.gguf_header import GgufHeader
from lmrun.catalog.gguf_reader import RawGguf, Tensor
from lmrun.catalog.gguf_types import TENSOR_TYPES
from lmrun.settings.load import CacheType, LoadConfig

DEFAULT_CONTEXT_LENGTH = 4096
WORKER_BYTES = 64 * 2**20
"""A worker with its libraries and no model, measured: private and mapped together."""
SPARE_ROWS = 64
"""Rows of a batch that speculation and forced tokens may fill."""
STRICT_CHUNK = 16
"""Prompt tokens of one strict decode, on every machine; as many more rows for forced tokens."""
STRICT_ROWS = 2 * STRICT_CHUNK + 1
"""Rows of one strict decode at most."""
_CELL_PADDING = 256
_CHUNK_COST = 20e9
_SMALLEST_CHUNK = 16
_F32, _F16 = 4, 2
_BYTES_PER_ELEMENT = {
    kind.name.lower(): kind.block_bytes / kind.block_size for kind in TENSOR_TYPES.values()
}


@dataclass(frozen=True, slots=True)
class LoadFiles:
    """The files of one load."""

    model: Path
    adapters: tuple[Path, ...] = ()
    mmproj: Path | None = None
    draft_model: Path | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of RAM. `attached`: adapters and projector. `draft`, `strict`: all that the draft
    model and the strict context take. `prefix_cache`: what it may grow to."""

    weights: int
    cache: int = 0
    compute: int = 0
    attached: int = 0
    draft: int = 0
    strict: int = 0
    prefix_cache: int = 0
    worker: int = 0

    @property
    def at_load(self) -> int:
        """What it takes before the first request is parked."""
        parts = (self.weights, self.cache, self.compute, self.attached, self.draft, self.strict)
        return sum(parts) + self.worker

    @property
    def total(self) -> int:
        """The most that it takes."""
        return self.at_load + self.prefix_cache


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides about compute buffers, out of the tensors: `vocabulary` (tokens),
    `feed_forward` (its width, of all experts that work on a token), `parameters`. `masks`: one
    for all layers, and one more for those with a sliding window."""

    vocabulary: int
    feed_forward: int
    parameters: int
    masks: int = 1


def read_sizes(raw: RawGguf, tensors: Iterable[Tensor], experts_used: int) -> Sizes:
    """Sizes by the shapes of `tensors`: those of all parts, whatever the keys of `raw` claim."""
    vocabulary = feed_forward = parameters = 0
    for tensor in tensors:
        parameters += math.prod(tensor.dimensions)
        if len(tensor.dimensions) < 2:
            continue
        if tensor.name == "token_embd.weight":
            vocabulary = tensor.dimensions[1]
        elif tensor.name.endswith(".ffn_up.weight"):
            feed_forward = max(feed_forward, tensor.dimensions[1])
        elif tensor.name.endswith(".ffn_up_exps.weight"):
            feed_forward = max(feed_forward, tensor.dimensions[1] * max(experts_used, 1))
    masks = 1 + any(key.endswith(".attention.sliding_window") for key in raw.metadata)
    return Sizes(vocabulary, feed_forward, parameters, masks)


def estimate_model(header: GgufHeader, sizes: Sizes, weights: int, load: LoadConfig) -> Estimate:
    """Weights (bytes of their files), KV cache and compute buffers of one context.

    An upper bound for layers with a sliding window; recurrent state, which is small, is left out.
    """
    rows, outputs = _rows(load, sizes.parameters)
    return Estimate(
        weights=weights,
        cache=_cache_bytes(header, load, _cells(header, load, rows)),
        compute=_compute_bytes(header, sizes, load, rows, outputs),
        prefix_cache=0 if header.type == "embedding" else load.prefix_cache.ram,
    )


def estimate_strict(header: GgufHeader, sizes: Sizes, load: LoadConfig) -> int:
    """Bytes of the second context that strict determinism needs."""
    one = load.model_copy(
        update={
            "max_parallel_predictions": 1,
            "kv_tokens": None,
            "flash_attention": False,
            "k_cache_type": "f16",
            "v_cache_type": "f16",
        }
    )
    cells = _cells(header, one, STRICT_ROWS)
    compute = _compute_bytes(header, sizes, one, STRICT_ROWS, outputs=1 + STRICT_CHUNK)
    return _cache_bytes(header, one, cells) + compute


def choose_chunk(parameters: int, cores: int, most: int) -> int:
    """Prompt tokens of one step when nothing streams: bounds a step to some 500 ms on a CPU.

    A power of two that depends on the model and the machine, never on measured times: with flash
    attention the same prompt gives other logits in other chunks, so a seed keeps its text.
    """
    affordable = cores * _CHUNK_COST / max(parameters, 1)
    chunk = 1 << math.floor(math.log2(max(affordable, _SMALLEST_CHUNK)))
    return min(chunk, most)


def _rows(load: LoadConfig, parameters: int) -> tuple[int, int]:
    """Rows of the largest batch, and how many of them have outputs."""
    chunk = choose_chunk(parameters, os.cpu_count() or 1, load.eval_batch_size)
    outputs = load.max_parallel_predictions + SPARE_ROWS
    return chunk + outputs, outputs


def _context_length(header: GgufHeader, load: LoadConfig) -> int:
    return load.context_length or min(header.context_length, DEFAULT_CONTEXT_LENGTH)


def _cells(header: GgufHeader, load: LoadConfig, rows: int) -> int:
    """KV cells of all sequences; llama.cpp rounds up, and takes no fewer than a batch has rows."""
    pool = load.kv_tokens or _context_length(header, load) * load.max_parallel_predictions
    return _caches(load) * _pad(_pad(max(pool, rows)) // _caches(load))


def _caches(load: LoadConfig) -> int:
    """KV caches of the context: one for all sequences, or one for each."""
    return 1 if load.shares_cache else load.max_parallel_predictions


def _pad(cells: int) -> int:
    return -(-cells // _CELL_PADDING) * _CELL_PADDING


def _cache_bytes(header: GgufHeader, load: LoadConfig, cells: int) -> int:
    """Keys and values of every cell in every layer; an encoder keeps none."""
    if header.is_encoder:
        return 0
    per_head = _element_bytes(load.k_cache_type) * header.key_length
    per_head += _element_bytes(load.v_cache_type) * header.value_length
    return int(cells * sum(header.heads_kv) * per_head)


def _compute_bytes(
    header: GgufHeader, sizes: Sizes, load: LoadConfig, rows: int, outputs: int
) -> int:
    width = header.embedding_length
    if header.type == "embedding":
        # Every input token of a batch is a row, and attention sees the batch alone.
        rows = cells = max(_context_length(header, load), load.eval_batch_size)
        output = 0
    else:
        # A row sees the cells of its own cache.
        cells = _cells(header, load, rows) // _caches(load)
        output = outputs * (sizes.vocabulary + 3 * width) * _F32
    feed_forward = rows * (3 * sizes.feed_forward + 4 * width) * _F32
    if load.flash_attention:
        return max(output, feed_forward + sizes.masks * rows * cells * _F16)
    masks = sizes.masks * rows * cells * _F32
    attention = rows * (cells * header.head_count + 6 * width) * _F32
    return max(output, masks + max(feed_forward, attention))


def _element_bytes(kind: CacheType) -> float:
    return _BYTES_PER_ELEMENT[kind]
