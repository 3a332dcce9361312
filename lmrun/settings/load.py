"""Load config: what is fixed when a model is loaded. It knows no engine's own names."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from lmrun.settings.base import Settings
from lmrun.settings.effects import OnChange
from lmrun.settings.quantities import Size
from lmrun.settings.sources import check_source

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
SourceText = Annotated[str, AfterValidator(check_source)]
RopeFrequency = Annotated[float, Field(ge=1e-12, le=1e12)]
"""Far beyond these, single precision makes it zero, which an engine takes for "the model's own", or
infinite."""
MAX_ADAPTERS = 64
MAX_GPUS = 16


class GpuConfig(Settings):
    """How much of the model goes to which GPU. GPUs are counted from 0."""

    ratio: Literal["off", "max"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "max", description="Share of the layers on the GPU: `off`, `max`, or 0 to 1."
    )
    main_gpu: Annotated[int, Field(ge=0, lt=MAX_GPUS)] | None = Field(
        None, description="The GPU that `favorMainGpu` fills first. Default: 0."
    )
    split_strategy: Literal["evenly", "favorMainGpu"] | None = Field(
        None,
        description="How several GPUs share the layers: `evenly`, or `favorMainGpu`: as much as "
        "fits on `main_gpu`. Default: by their free memory.",
    )
    split: (
        Annotated[
            tuple[Annotated[float, Field(ge=0, le=1e6)], ...],
            Field(min_length=1, max_length=MAX_GPUS, strict=False),
        ]
        | None
    ) = Field(None, description="Each GPU's part of the layers, as numbers in proportion.")
    disabled_gpus: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=MAX_GPUS)], ...],
        Field(max_length=MAX_GPUS, strict=False),
    ] = Field((), description="GPUs that this model does not use.")


class AdapterConfig(Settings):
    """A LoRA adapter that is loaded with the model."""

    source: SourceText = Field(description="Where the adapter's file is, like a model's `source`.")
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="What requests call it. Default: the file's name without `.gguf`."
    )
    scale: Annotated[float, Field(ge=-100, le=100)] = Field(
        1.0, description="Its strength where a request does not say otherwise; 0 is off."
    )

    @property
    def given_name(self) -> str:
        """The chosen name, else the file's."""
        path = self.source.partition(":")[2]
        return self.name or PurePosixPath(path).name.removesuffix(".gguf")


def _check_names(adapters: tuple[AdapterConfig, ...]) -> tuple[AdapterConfig, ...]:
    counts = Counter(adapter.given_name for adapter in adapters)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"two adapters are called `{twice[0]}`; give them different names")
    return adapters


class PrefixCacheConfig(Settings):
    """Where prompts that were computed once are kept, so that they need not be again."""

    ram: Size = Field(
        2**30,
        description="Most memory for prefixes outside the KV cache; `0B` keeps none, nor in it.",
        json_schema_extra={"default": "1GiB"},
    )
    persist: bool = Field(
        False, description="Keep hot prefixes in private files, across reloads and restarts."
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
    unified_kv_cache: bool | None = Field(
        None,
        description="One KV cache for all sequences, where a prefix that they share lies once. "
        "`false` gives each its own, of `context_length` tokens, and copies shared prefixes: "
        "faster for prompts that differ, slower for many at a time behind one long prefix. "
        "Default: one where `kv_tokens` is set, else one each.",
    )
    kv_tokens: Annotated[int, Field(ge=8, lt=2**31)] | None = Field(
        None,
        description="Tokens that one KV cache for all sequences holds, at least "
        "`context_length`. Default: `context_length` x `max_parallel_predictions`.",
    )
    gpu: GpuConfig | None = Field(
        None, description="GPU offload. Default: all layers where the engine's build has a GPU."
    )
    offload_kv_cache_to_gpu: bool | None = Field(
        None, description="Keep the KV cache on the GPU. Default: where there is one."
    )
    num_experts: Annotated[int, Field(ge=1, le=512)] | None = Field(
        None, description="Experts per token of a mixture of experts. Default: the model's own."
    )
    seed: Annotated[Annotated[int, Field(ge=0, lt=2**32)] | None, OnChange("Update")] = Field(
        None, description="Seed of requests that bring none. Default: a new one each time."
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
    rope_frequency_base: RopeFrequency | None = Field(
        None, description="RoPE base frequency. Default: the model's own."
    )
    rope_frequency_scale: RopeFrequency | None = Field(
        None, description="RoPE frequency scale. Default: the model's own."
    )
    prefix_cache: PrefixCacheConfig = Field(
        PrefixCacheConfig(), description="Where computed prompts are kept for the next request."
    )
    adapters: Annotated[
        tuple[AdapterConfig, ...],
        Field(max_length=MAX_ADAPTERS, strict=False),
        AfterValidator(_check_names),
    ] = Field((), description="LoRA adapters; requests may choose among them and scale them.")
    mmproj: SourceText | None = Field(
        None, description="The projector that lets the model see images, like a `source`."
    )
    draft_model: SourceText | None = Field(
        None,
        description="A small model of the same vocabulary whose guesses this one verifies, "
        "like a `source`.",
    )

    @property
    def shares_cache(self) -> bool:
        """Whether its sequences share one KV cache, where the model's file allows it."""
        if self.unified_kv_cache is None:
            return self.kv_tokens is not None
        return self.unified_kv_cache

    @property
    def fixed(self) -> LoadConfig:
        """Without what a running instance takes up by an Update."""
        fields = type(self).model_fields
        hot = {name: it.default for name, it in fields.items() if OnChange("Update") in it.metadata}
        return self.model_copy(update=hot)

    def overlay(self, other: LoadConfig) -> LoadConfig:
        """`other`'s explicitly chosen settings over mine, down to those of its parts."""
        return self.model_copy(update=_chosen_over(self, other))


def _chosen_over(mine: Settings, other: Settings) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for name in other.model_fields_set:
        below, above = getattr(mine, name), getattr(other, name)
        if isinstance(below, Settings) and isinstance(above, Settings):
            above = below.model_copy(update=_chosen_over(below, above))
        chosen[name] = above
    return chosen
