"""Load config: what is fixed when a model is loaded. It knows no engine's own names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmrun.settings.base import Settings

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


class GpuConfig(Settings):
    """How much of the model goes to the GPU."""

    ratio: Literal["off", "max"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "off", description="Share of the layers on the GPU: `off`, `max`, or 0 to 1."
    )


class LoadConfig(Settings):
    """LM Studio's load settings in snake_case. A changed value is a Reload."""

    context_length: Annotated[int, Field(ge=8, le=16_777_216)] | None = Field(
        None,
        description="Tokens one sequence may hold, prompt and answer. "
        "Default: the model's own, at most 4096.",
    )
    max_parallel_predictions: Annotated[int, Field(ge=1, le=255)] = Field(
        4,
        description="Sequences that generate at the same time. llama.cpp knows 256; the prefix "
        "cache works with one of them.",
    )
    unified_kv_cache: bool = Field(
        True,
        description="One KV cache for all sequences, which lets them share prefixes; `false` "
        "gives each its own, of `context_length` tokens.",
    )
    kv_tokens: Annotated[int, Field(ge=8, lt=2**31)] | None = Field(
        None,
        description="Tokens that the KV cache holds for all sequences together, at least "
        "`context_length`. Default: `context_length` x `max_parallel_predictions`.",
    )
    gpu: GpuConfig | None = Field(
        None, description="GPU offload. Default: all layers where the engine's build has a GPU."
    )
    flash_attention: bool = Field(True, description="Use flash attention.")
    k_cache_type: CacheType = Field("f16", description="Precision of the KV cache's keys.")
    v_cache_type: CacheType = Field("f16", description="Precision of the KV cache's values.")
    eval_batch_size: Annotated[int, Field(ge=1, le=65_536)] = Field(
        512, description="Most prompt tokens in one decode."
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Most CPU threads for this model. Default: all that the server grants."
    )
    try_mmap: bool = Field(True, description="Map the weights instead of reading them.")
    keep_model_in_memory: bool = Field(False, description="Lock the weights in RAM.")
    rope_frequency_base: Annotated[float, Field(gt=0)] | None = Field(
        None, description="RoPE base frequency. Default: the model's own."
    )
    rope_frequency_scale: Annotated[float, Field(gt=0)] | None = Field(
        None, description="RoPE frequency scale. Default: the model's own."
    )
