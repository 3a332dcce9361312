"""Loading, unloading and downloading over /api/v1: only what the profile declares.

Format: lmstudio-ai/docs, `1_developer/2_rest/load.md`, `unload.md`, `download.md` and
`download-status.md`.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import ASGIApp

from lmrun.api.errors import JobNotFound
from lmrun.api.http.record import current_record
from lmrun.api.lmstudio.house import House
from lmrun.api.lmstudio.listing import Listed
from lmrun.api.lmstudio.v1.models import LoadConfigV1, TypeV1, to_load_config, to_type
from lmrun.api.lmstudio.v1.requests import DownloadRequest, LoadRequest, UnloadRequest
from lmrun.api.routes import Call, Handler
from lmrun.api.sse import JsonAnswer
from lmrun.api.validate import validate_request
from lmrun.errors import SettingRefused, UnsupportedParameter
from lmrun.reconcile.drift.ownership import api_owner


class LoadAnswer(msgspec.Struct, frozen=True):
    """`load_time_seconds`: how long this request took; next to nothing when it was loaded."""

    type: TypeV1
    instance_id: str
    load_time_seconds: float
    status: Literal["loaded"] = "loaded"
    load_config: LoadConfigV1 | UnsetType = UNSET


class UnloadAnswer(msgspec.Struct, frozen=True):
    instance_id: str


class DownloadAnswer(msgspec.Struct, frozen=True):
    """There are no download jobs, so there is no other status."""

    status: Literal["already_downloaded"] = "already_downloaded"


def make_load_handler(house: House) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(LoadRequest, call.json)
        try:
            loaded = await house.declared.load(
                request.model, request.settings, owner=_owner(), ttl_s=request.ttl
            )
        except SettingRefused as refused:
            # The profile's path of a setting; here it is a field.
            refused.param = (refused.param or "").removeprefix("load.") or None
            raise
        listed = Listed(loaded.model, (loaded.instance,))
        config = to_load_config(listed, loaded.instance)
        return JsonAnswer(
            LoadAnswer(
                to_type(listed),
                loaded.instance.spec.identifier,
                loaded.seconds,
                load_config=config if request.echo_load_config else UNSET,
            )
        )

    return answer


def make_unload_handler(house: House) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(UnloadRequest, call.json)
        await house.declared.unload(request.instance_id, owner=_owner())
        return JsonAnswer(UnloadAnswer(request.instance_id))

    return answer


def make_download_handler(house: House) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(DownloadRequest, call.json)
        if request.quantization is not None:
            raise _later("quantization")
        models = await house.declared.list()
        if all(request.model not in (model.key, model.identifier) for model in models):
            raise _later("model")
        return JsonAnswer(DownloadAnswer())

    return answer


async def find_download(call: Call) -> ASGIApp:
    raise JobNotFound(f"There is no download job {call.path['job_id'][:200]!r}: none was started.")


def _owner() -> str:
    """Who the change belongs to: the request's API key, if one was asked for."""
    record = current_record()
    return api_owner(record.key if record is not None else None)


def _later(param: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"`{param}`: downloads from a hub come with a later version of lmrun.",
        param=param,
        hint="Declare the model with its `source` in the profile; applying that fetches it.",
    )
