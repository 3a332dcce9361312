"""What a load config means to llama.cpp, or why it cannot be had. Pure: it loads nothing."""

from __future__ import annotations

from dataclasses import dataclass

from llama_cpp import llama_cpp as native

from lmrun.errors import SettingRefused
from lmrun.settings.load import CacheType, LoadConfig

DEFAULT_CONTEXT_LENGTH = 4096
_ALL_LAYERS = -1
_GGML_TYPE_BF16 = 30  # ggml.h; llama-cpp-python leaves it out
_LARGEST_POOL = 2**31 - 1
SPARE_ROWS = 64
"""Rows of a batch that speculation and forced tokens may fill."""

CACHE_TYPES: dict[CacheType, int] = {
    "f32": native.GGML_TYPE_F32,
    "f16": native.GGML_TYPE_F16,
    "bf16": _GGML_TYPE_BF16,
    "q8_0": native.GGML_TYPE_Q8_0,
    "q5_1": native.GGML_TYPE_Q5_1,
    "q5_0": native.GGML_TYPE_Q5_0,
    "q4_1": native.GGML_TYPE_Q4_1,
    "q4_0": native.GGML_TYPE_Q4_0,
}
_FLOAT_TYPES = ("f32", "f16", "bf16")


@dataclass(frozen=True, slots=True)
class Build:
    """What the installed llama.cpp can do."""

    gpu_offload: bool
    mmap: bool
    mlock: bool


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the model's file says. `scaled_from`: its context before RoPE scaling, where it has it.

    `rotary`: positions are RoPE's; else they are learned or absent.
    """

    trained_context: int
    rotary: bool
    scaled_from: int | None = None


@dataclass(frozen=True, slots=True)
class ContextShape:
    """How large a context is: `pool` KV cells for all sequences together.

    `unified`: one pool that any sequence may fill. `chunk`: prompt tokens of one step. `spare`:
    rows of a batch beyond a chunk and one token of each sequence, for tokens that are verified.
    `scratch`: sequence ids beyond `sequences`, for the prefix cache.
    """

    context_length: int
    sequences: int
    pool: int
    chunk: int
    unified: bool = True
    spare: int = 0
    scratch: int = 0

    @property
    def capacity(self) -> int:
        """Rows of one batch."""
        return self.chunk + self.sequences + self.spare if self.spare else self.chunk

    @property
    def outputs(self) -> int:
        """Rows of one batch that may ask for logits."""
        return min(self.capacity, self.sequences + self.spare)


def choose_gpu_layers(config: LoadConfig, build: Build, layers: int) -> int:
    """`n_gpu_layers`: -1 is all. `layers`: how many the model has; the output layer counts too."""
    ratio = "max" if config.gpu is None else config.gpu.ratio
    if ratio in ("off", 0):
        return 0
    if not build.gpu_offload:
        if config.gpu is None:
            return 0
        raise SettingRefused(
            f"load.gpu: ratio {ratio} needs a GPU, and this build of llama.cpp offloads to none.",
            param="load.gpu",
            hint="Set `gpu: {ratio: off}`, or install llama-cpp-python built for your GPU.",
        )
    return _ALL_LAYERS if ratio == "max" else round(float(ratio) * (layers + 1))


def choose_load_mode(config: LoadConfig, build: Build) -> int:
    """`llama_load_mode`. Mapping is a wish (`try_mmap`), locking is a demand."""
    mapped = config.try_mmap and build.mmap
    if not config.keep_model_in_memory:
        return int(native.LLAMA_LOAD_MODE_MMAP if mapped else native.LLAMA_LOAD_MODE_NONE)
    if not build.mlock:
        raise SettingRefused(
            "load.keep_model_in_memory: this build of llama.cpp cannot lock memory.",
            param="load.keep_model_in_memory",
            hint="Set it to false.",
        )
    return int(native.LLAMA_LOAD_MODE_MMAP_MLOCK if mapped else native.LLAMA_LOAD_MODE_MLOCK)


def require_locked(problems: list[str]) -> None:
    """Raises SettingRefused when llama.cpp logged that the system refused to lock the weights."""
    refusal = next((line for line in problems if "failed to mlock" in line), None)
    if refusal is not None:
        raise SettingRefused(
            f"load.keep_model_in_memory: the system refused to lock the weights: {refusal}",
            param="load.keep_model_in_memory",
            hint="Raise the limit (`ulimit -l unlimited`), or set it to false.",
        )


def require_cache_types(config: LoadConfig) -> None:
    """Raises SettingRefused for a quantised V cache without flash attention."""
    if config.v_cache_type not in _FLOAT_TYPES and not config.flash_attention:
        raise SettingRefused(
            f"load.v_cache_type: {config.v_cache_type} needs flash attention.",
            param="load.v_cache_type",
            hint="Set `flash_attention: true`, or `v_cache_type: f16`.",
        )


def choose_context_length(config: LoadConfig, facts: ModelFacts) -> int:
    """Tokens of one sequence. More than the model was trained for needs an explicit RoPE."""
    changes_rope = config.rope_frequency_base or config.rope_frequency_scale
    if changes_rope and not facts.rotary:
        name = "base" if config.rope_frequency_base else "scale"
        raise SettingRefused(
            f"load.rope_frequency_{name}: this model does not use RoPE.",
            param=f"load.rope_frequency_{name}",
            hint="Leave it out.",
        )
    if config.context_length is None:
        return min(facts.trained_context, DEFAULT_CONTEXT_LENGTH)
    if config.context_length > facts.trained_context and not changes_rope:
        hint = f"Set at most {facts.trained_context}"
        hint += ", or rope_frequency_base or rope_frequency_scale too." if facts.rotary else "."
        raise SettingRefused(
            f"load.context_length: {config.context_length} is more than the "
            f"{facts.trained_context} this model was trained for.",
            param="load.context_length",
            hint=hint,
        )
    return config.context_length


def shape_generation(config: LoadConfig, facts: ModelFacts, chunk: int) -> ContextShape:
    """A pool large enough for every sequence to fill its context."""
    length = choose_context_length(config, facts)
    pool = _choose_pool(config, length)
    unified = config.unified_kv_cache and _may_unify(length, pool, facts)
    if not unified:
        _require_streams(config, length)
    return ContextShape(
        context_length=length,
        sequences=config.max_parallel_predictions,
        pool=pool,
        chunk=min(chunk, config.eval_batch_size),
        unified=unified,
        spare=SPARE_ROWS,
        scratch=1 if unified else 0,
    )


def shape_embedding(config: LoadConfig, facts: ModelFacts, most_sequences: int) -> ContextShape:
    """Each input must fit one physical batch: llama.cpp ends the process otherwise."""
    length = choose_context_length(config, facts)
    room = max(length, config.eval_batch_size)
    return ContextShape(
        context_length=length, sequences=min(room, most_sequences), pool=room, chunk=room
    )


def refuse_context(reason: str, config: LoadConfig) -> SettingRefused | None:
    """The setting that llama.cpp's words about a refused context mean, if it is one."""
    found = next((param for words, param in _BLAMED.items() if words in reason), None)
    if found is None:
        return None
    name = found.removeprefix("load.")
    return SettingRefused(
        f"{found}: this model cannot have {getattr(config, name)}: {reason}",
        param=found,
        hint="Use f16." if name.endswith("cache_type") else "Set it to false.",
    )


_BLAMED = {
    "K cache type": "load.k_cache_type",
    "V cache type": "load.v_cache_type",
    "V cache quantization requires": "load.v_cache_type",
    "lash attention": "load.flash_attention",
    "flash_attn": "load.flash_attention",
}


def _choose_pool(config: LoadConfig, length: int) -> int:
    """KV cells for all sequences. Raises SettingRefused for too few and for too many."""
    if config.kv_tokens is not None and config.kv_tokens < length:
        raise SettingRefused(
            f"load.kv_tokens: {config.kv_tokens} cannot hold one sequence of {length} tokens.",
            param="load.kv_tokens",
            hint=f"Set at least {length}, or lower context_length.",
        )
    pool = config.kv_tokens or length * config.max_parallel_predictions
    if pool > _LARGEST_POOL:
        raise SettingRefused(
            f"load.context_length: {length} for each of {config.max_parallel_predictions} "
            f"predictions is more than the {_LARGEST_POOL} tokens llama.cpp can count.",
            param="load.context_length",
            hint="Lower it, or max_parallel_predictions, or set kv_tokens.",
        )
    return pool


def _require_streams(config: LoadConfig, length: int) -> None:
    """Raises SettingRefused where the pool is not one whole context for each sequence."""
    asked = "unified_kv_cache" in config.model_fields_set and config.unified_kv_cache
    if asked:
        raise SettingRefused(
            "load.unified_kv_cache: this model chooses its RoPE factors by the size of the "
            "cache, so its sequences cannot share one.",
            param="load.unified_kv_cache",
            hint="Leave it out, or set a kv_tokens of one context_length.",
        )
    whole = length * config.max_parallel_predictions
    if config.kv_tokens not in (None, whole):
        raise SettingRefused(
            f"load.kv_tokens: with separate caches it is context_length x "
            f"max_parallel_predictions, {whole}, not {config.kv_tokens}.",
            param="load.kv_tokens",
            hint="Leave it out, or set `unified_kv_cache: true` where the model allows it.",
        )


def _may_unify(length: int, pool: int, facts: ModelFacts) -> bool:
    """Some models choose long or short RoPE factors by the pool's size: theirs is not shared."""
    return facts.scaled_from is None or not length <= facts.scaled_from < pool
