"""Models as /api/v1 lists them. Format: lmstudio-ai/docs, `1_developer/2_rest/list.md`."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import ASGIApp

from lmrun.api.lmstudio.house import House
from lmrun.api.lmstudio.listing import Listed, find_context_length, list_models
from lmrun.api.lmstudio.v1.reasoning import ReasoningSetting, choose_default, find_settings
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance
from lmrun.api.sse import JsonAnswer
from lmrun.chat.language import read_language

TypeV1 = Literal["llm", "embedding"]

DEFAULT_FORMAT = "default"
"""The tool format of models that were taught none."""


class Quantization(msgspec.Struct, frozen=True):
    """`bits_per_weight`: what the name says, 4 for `Q4_K_M`."""

    name: str | None
    bits_per_weight: int | None


class LoadConfigV1(msgspec.Struct, frozen=True):
    """What an instance was loaded with. Lengths in tokens; what does not apply to it is absent."""

    context_length: int
    eval_batch_size: int | UnsetType = UNSET
    parallel: int | UnsetType = UNSET
    flash_attention: bool | UnsetType = UNSET
    num_experts: int | UnsetType = UNSET
    offload_kv_cache_to_gpu: bool | UnsetType = UNSET


class InstanceV1(msgspec.Struct, frozen=True):
    id: str
    config: LoadConfigV1


class Reasoning(msgspec.Struct, frozen=True):
    allowed_options: tuple[ReasoningSetting, ...]
    default: ReasoningSetting


class Capabilities(msgspec.Struct, frozen=True):
    """`trained_for_tool_use`: its chat template has a format of its own for calls."""

    vision: bool
    trained_for_tool_use: bool
    reasoning: Reasoning | UnsetType = UNSET


class ModelV1(msgspec.Struct, frozen=True):
    """A declared model whose file is here. `architecture`, `capabilities` and `description` are
    absent for embedding models; sizes in bytes, lengths in tokens."""

    type: TypeV1
    publisher: str
    key: str
    display_name: str
    quantization: Quantization | None
    size_bytes: int
    params_string: str | None
    loaded_instances: tuple[InstanceV1, ...]
    max_context_length: int
    format: Literal["gguf", "mlx"] | None
    architecture: str | UnsetType | None = UNSET
    capabilities: Capabilities | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class ModelListV1(msgspec.Struct, frozen=True):
    models: tuple[ModelV1, ...]


def make_list_handler(house: House) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        listed = list_models(await house.declared.list(), house.pool.instances)
        return JsonAnswer(ModelListV1(tuple(map(_to_model, listed))))

    return answer


def to_type(listed: Listed) -> TypeV1:
    """What its instances say that they are, else its file."""
    kinds = [instance.info.type for instance in listed.instances if instance.info]
    return "embedding" if (kinds or [listed.model.file.type])[0] == "embedding" else "llm"


def to_load_config(listed: Listed, instance: Instance) -> LoadConfigV1:
    """What the instance was loaded with, where that can be known."""
    load, info = instance.spec.load, instance.info
    length = info.context_length if info else load.context_length or 0
    if to_type(listed) == "embedding":
        return LoadConfigV1(length)
    experts, offload = listed.model.file.experts, load.offload_kv_cache_to_gpu
    return LoadConfigV1(
        context_length=length,
        eval_batch_size=load.eval_batch_size,
        parallel=load.max_parallel_predictions,
        flash_attention=load.flash_attention,
        num_experts=(load.num_experts or experts) if experts else UNSET,
        offload_kv_cache_to_gpu=UNSET if offload is None else offload,
    )


def _to_model(listed: Listed) -> ModelV1:
    model, file, kind = listed.model, listed.model.file, to_type(listed)
    instances = tuple(
        InstanceV1(instance.spec.identifier, to_load_config(listed, instance))
        for instance in listed.instances
    )
    is_llm = kind == "llm"
    return ModelV1(
        type=kind,
        publisher=model.publisher,
        key=model.key,
        display_name=file.name or model.key,
        quantization=Quantization(file.quantization, file.bits_per_weight)
        if file.quantization
        else None,
        size_bytes=file.size,
        params_string=file.parameters,
        loaded_instances=instances,
        max_context_length=find_context_length(listed),
        format="gguf" if file.format == "gguf" else None,
        architecture=file.architecture if is_llm else UNSET,
        capabilities=_find_capabilities(listed) if is_llm else UNSET,
        description=None if is_llm else UNSET,
    )


def _find_capabilities(listed: Listed) -> Capabilities:
    infos = [instance.info for instance in listed.instances if instance.info]
    file = listed.model.file
    template = infos[0].chat_template if infos else file.chat_template
    language = read_language(template)
    settings = find_settings(language)
    return Capabilities(
        vision=infos[0].accepts_images if infos else file.type == "vlm",
        trained_for_tool_use=language.tool_format.name != DEFAULT_FORMAT,
        reasoning=Reasoning(settings, choose_default(settings)) if settings else UNSET,
    )
