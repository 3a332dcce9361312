"""How much memory a model will take, from its header. It measures nothing."""

from __future__ import annotations

from lmrun.catalog.gguf_header import GgufHeader
from lmrun.catalog.gguf_types import TENSOR_TYPES
from lmrun.settings.load import CacheType, LoadConfig

DEFAULT_CONTEXT_LENGTH = 4096
_BYTES_PER_ELEMENT = {
    kind.name.lower(): kind.block_bytes / kind.block_size for kind in TENSOR_TYPES.values()
}


def estimate_bytes(header: GgufHeader, weights: int, load: LoadConfig) -> int:
    """Weights and KV cache in bytes; an upper bound where layers use a sliding window."""
    return weights + estimate_cache_bytes(header, load)


def estimate_cache_bytes(header: GgufHeader, load: LoadConfig) -> int:
    """Keys and values of every cell in every layer; an encoder keeps none."""
    if header.is_encoder:
        return 0
    context = load.context_length or min(header.context_length, DEFAULT_CONTEXT_LENGTH)
    per_head = _element_bytes(load.k_cache_type) * header.key_length
    per_head += _element_bytes(load.v_cache_type) * header.value_length
    cells = context * load.max_parallel_predictions
    return int(cells * sum(header.heads_kv) * per_head)


def _element_bytes(kind: CacheType) -> float:
    return _BYTES_PER_ELEMENT[kind]
