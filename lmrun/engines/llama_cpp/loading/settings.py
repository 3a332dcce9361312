"""What a load config means to llama.cpp, or why it cannot be had. Pure: it loads nothing."""

from __future__ import annotations

from dataclasses import dataclass

from llama_cpp import llama_cpp as native

from lmrun.engines.base import Attachments
from lmrun.errors import SettingRefused
from lmrun.settings.load import CacheType, GpuConfig, LoadConfig

_ALL_LAYERS = -1
_GGML_TYPE_BF16 = 30  # ggml.h; llama-cpp-python leaves it out

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
_PER_GPU = {"main_gpu", "split", "split_strategy", "disabled_gpus"}
_USABLE_SHARE = 0.8
"""Of a GPU's free memory, for weights; the rest is for the KV cache and compute buffers."""


@dataclass(frozen=True, slots=True)
class Build:
    """What the installed llama.cpp can do. `gpus`: free bytes of each GPU that it sees."""

    gpu_offload: bool
    mmap: bool
    mlock: bool
    gpus: tuple[int, ...] = ()


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


def needs_a_look(config: LoadConfig) -> bool:
    """Whether the file must be looked into before the load: for a share of its layers, or for
    its experts."""
    is_share = config.gpu is not None and not isinstance(config.gpu.ratio, str)
    return is_share or config.num_experts is not None


def require_experts(wanted: int, experts: int) -> None:
    """Raises SettingRefused for a dense model, or for more experts than there are.

    llama.cpp ends the process for more.
    """
    if 1 <= wanted <= experts:
        return
    is_dense = experts == 0
    raise SettingRefused(
        "load.num_experts: this model is not a mixture of experts."
        if is_dense
        else f"load.num_experts: this model has {experts} experts, not {wanted}.",
        param="load.num_experts",
        hint="Leave it out." if is_dense else f"Set 1 to {experts}.",
    )


def require_offload(config: LoadConfig, build: Build) -> None:
    """Raises SettingRefused where the KV cache is to be on a GPU and there is none."""
    if config.offload_kv_cache_to_gpu and not build.gpu_offload:
        raise SettingRefused(
            "load.offload_kv_cache_to_gpu: this build of llama.cpp offloads to no GPU.",
            param="load.offload_kv_cache_to_gpu",
            hint="Leave it out, or install llama-cpp-python built for your GPU.",
        )


def require_generation(config: LoadConfig, attachments: Attachments) -> None:
    """Raises SettingRefused for what only a model that generates can have."""
    asked = {
        "kv_tokens": config.kv_tokens is not None,
        "mmproj": attachments.mmproj is not None,
        "draft_model": attachments.draft_model is not None,
    }
    for name in (name for name, is_asked in asked.items() if is_asked):
        raise SettingRefused(
            f"load.{name}: this is an embedding model, it generates nothing.",
            param=f"load.{name}",
            hint="Leave it out.",
        )


def choose_split(config: LoadConfig, build: Build, model_bytes: int) -> list[float] | None:
    """`tensor_split`: each GPU's share of the layers; None leaves it to llama.cpp, which goes by
    free memory."""
    gpu = config.gpu
    chosen = gpu.model_fields_set & _PER_GPU if gpu is not None else set()
    if gpu is None or not chosen:
        return None
    for name in sorted(chosen):
        _require_gpus(gpu, name, len(build.gpus))
    shares = list(gpu.split) if gpu.split is not None else _share_out(gpu, build, model_bytes)
    return [0.0 if n in gpu.disabled_gpus else share for n, share in enumerate(shares)]


def _share_out(gpu: GpuConfig, build: Build, model_bytes: int) -> list[float]:
    """By free memory; evenly; or as much as fits on the main one and the rest by free memory."""
    usable = {n: free for n, free in enumerate(build.gpus) if n not in gpu.disabled_gpus}
    if gpu.split_strategy == "evenly":
        return [float(n in usable) for n in range(len(build.gpus))]
    if gpu.split_strategy != "favorMainGpu":
        return [float(usable.get(n, 0)) for n in range(len(build.gpus))]
    main = gpu.main_gpu or 0
    on_main = min(1.0, _USABLE_SHARE * usable.get(main, 0) / max(model_bytes, 1))
    others = sum(free for n, free in usable.items() if n != main) or 1
    return [
        on_main if n == main else (1 - on_main) * usable.get(n, 0) / others
        for n in range(len(build.gpus))
    ]


def _require_gpus(gpu: GpuConfig, name: str, count: int) -> None:
    """Raises SettingRefused when the field `name` speaks of GPUs that are not there."""
    disabled = set(gpu.disabled_gpus)
    faults = {
        "main_gpu": gpu.main_gpu is not None
        and (gpu.main_gpu >= count or gpu.main_gpu in disabled),
        "split": gpu.split is not None and len(gpu.split) != count,
        "split_strategy": gpu.split_strategy is not None and count == 0,
        "disabled_gpus": bool(disabled) and (max(disabled) >= count or len(disabled) == count),
    }
    if faults[name]:
        raise SettingRefused(
            f"load.gpu.{name}: it does not fit the GPUs that llama.cpp sees here: {count}.",
            param=f"load.gpu.{name}",
            hint="GPUs are counted from 0; `gpu: {ratio: off}` uses none.",
        )


def is_mapped(config: LoadConfig, build: Build) -> bool:
    """Whether the weights are mapped and not read: a wish (`try_mmap`)."""
    return config.try_mmap and build.mmap


def choose_load_mode(config: LoadConfig, build: Build) -> int:
    """`llama_load_mode`. Mapping is a wish, locking is a demand."""
    mapped = is_mapped(config, build)
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
