"""Models as /api/v0 lists them. Format: LM Studio's documentation, "REST API v0"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from starlette.types import ASGIApp

from lmrun.api.lmstudio.house import House
from lmrun.api.lmstudio.listing import Listed, find_context_length, list_models
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance
from lmrun.api.sse import JsonAnswer
from lmrun.engines.base import ModelType
from lmrun.errors import ModelNotFound

TypeV0 = Literal["llm", "vlm", "embeddings"]

_TYPES: dict[ModelType, TypeV0] = {"llm": "llm", "vlm": "vlm", "embedding": "embeddings"}


class ModelV0(msgspec.Struct, frozen=True, omit_defaults=True):
    """An instance that is loaded, or a declared model of which none is.

    `id`: what requests call it. `compatibility_type`: the file's format, `scripted` for a script
    of tests. Lengths in tokens; `loaded_context_length` only where it is loaded.
    """

    id: str
    object: str
    type: TypeV0
    publisher: str
    arch: str
    compatibility_type: str
    quantization: str
    state: Literal["loaded", "not-loaded"]
    max_context_length: int
    loaded_context_length: int | None = None


class ModelListV0(msgspec.Struct, frozen=True):
    data: tuple[ModelV0, ...]
    object: Literal["list"] = "list"


def make_list_handler(house: House) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        return JsonAnswer(ModelListV0(await _list(house)))

    return answer


def make_get_handler(house: House) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        name = call.path["id"]
        listed = list_models(await house.declared.list(), house.pool.instances)
        rows = [row for row in _to_all_rows(listed) if row.id == name]
        # A model's name stands for the first of its instances, as it does in requests.
        rows += [
            row
            for each in listed
            if name in (each.model.key, each.model.identifier)
            for row in _to_rows(each)
        ]
        if not rows:
            known = ", ".join(row.id for row in _to_all_rows(listed)) or "none"
            raise ModelNotFound(
                f"There is no model {name[:200]!r} here.", param="model", hint=f"Known: {known}."
            )
        return JsonAnswer(rows[0])

    return answer


async def _list(house: House) -> tuple[ModelV0, ...]:
    listed = list_models(await house.declared.list(), house.pool.instances)
    return tuple(_to_all_rows(listed))


def _to_all_rows(listed: Sequence[Listed]) -> Iterator[ModelV0]:
    for each in listed:
        yield from _to_rows(each)


def _to_rows(listed: Listed) -> Iterator[ModelV0]:
    if not listed.instances:
        yield _to_row(listed, None)
    for instance in listed.instances:
        yield _to_row(listed, instance)


def _to_row(listed: Listed, instance: Instance | None) -> ModelV0:
    file, info = listed.model.file, instance.info if instance else None
    kind = info.type if info else file.type
    return ModelV0(
        id=instance.spec.identifier if instance else listed.model.key,
        object="model",
        type=_TYPES[kind],
        publisher=listed.model.publisher,
        arch=file.architecture or "scripted",
        compatibility_type=file.format or "scripted",
        quantization=file.quantization or "",
        state="loaded" if instance else "not-loaded",
        max_context_length=find_context_length(listed),
        loaded_context_length=info.context_length if info else None,
    )
