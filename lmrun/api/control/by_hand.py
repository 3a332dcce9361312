"""Loading and unloading by hand over the unix socket: what `lmrun load` and `lmrun unload` ask for.

It knows no setting by name: those are read as strictly as a profile's.
"""

from __future__ import annotations

import time
from typing import Annotated, Protocol

from pydantic import Field
from starlette.types import ASGIApp

from lmrun.api.control.handlers import parse
from lmrun.api.control.routes import PREFIX
from lmrun.api.routes import Call, Response, Route
from lmrun.api.sse import JsonAnswer
from lmrun.errors import InvalidParameter, ModelNotFound, ModelNotReady
from lmrun.profile.chosen import parse_chosen
from lmrun.profile.schema import DriftPolicy, Identifier
from lmrun.reconcile.declared import LoadedInstance
from lmrun.reconcile.drift.ownership import cli_owner
from lmrun.reconcile.status import ByHandReport
from lmrun.settings.base import Settings
from lmrun.settings.load import LoadConfig
from lmrun.store.home import find_user

Name = Annotated[str, Field(min_length=1, max_length=512)]


class ByHandLoadRequest(Settings):
    """`model`: a declared model's key or identifier. `settings`: values as YAML by their paths in
    the model (`load.context_length`), over the profile's. `identifier`: of the instance; None for
    the declared one."""

    model: Name
    settings: dict[
        Annotated[str, Field(max_length=256)], Annotated[str, Field(max_length=4096)]
    ] = Field(default_factory=dict, max_length=64)
    identifier: Identifier | None = None


class ByHandUnloadRequest(Settings):
    """`identifier`: the instance's."""

    identifier: Name


class Models(Protocol):
    """The models that the profile declares."""

    async def set_up(
        self, name: str, chosen: LoadConfig, *, identifier: str | None, owner: str
    ) -> LoadedInstance: ...

    async def unload(self, identifier: str, *, owner: str) -> None: ...


class Hands(Protocol):
    """What is changed by hand, and what becomes of that."""

    @property
    def declared(self) -> Models: ...

    @property
    def drift_policy(self) -> DriftPolicy: ...


def by_hand_routes(hands: Hands) -> tuple[Route, ...]:
    """The two rows."""
    # The socket lets this user in, and the machine's administrator.
    owner = cli_owner(find_user())

    async def load(call: Call) -> ASGIApp:
        request = parse(ByHandLoadRequest, call.json)
        done = await hands.declared.set_up(
            request.model,
            parse_chosen(request.settings),
            identifier=request.identifier,
            owner=owner,
        )
        return JsonAnswer(
            ByHandReport(
                done.instance.spec.identifier, done.seconds, hands.drift_policy, done.is_new
            )
        )

    async def unload(call: Call) -> ASGIApp:
        request = parse(ByHandUnloadRequest, call.json)
        started_s = time.monotonic()
        await hands.declared.unload(request.identifier, owner=owner)
        seconds = time.monotonic() - started_s
        return JsonAnswer(ByHandReport(request.identifier, seconds, hands.drift_policy))

    answers = {200: (Response("What was done", ByHandReport),)}
    return (
        Route(
            "POST",
            f"{PREFIX}/load",
            load,
            "Load a declared model by hand, or load it again with other settings",
            request=ByHandLoadRequest,
            responses=answers,
            errors=(ModelNotFound, ModelNotReady, InvalidParameter),
        ),
        Route(
            "POST",
            f"{PREFIX}/unload",
            unload,
            "Unload an instance by hand, and end its streams",
            request=ByHandUnloadRequest,
            responses=answers,
            errors=(ModelNotFound, ModelNotReady),
        ),
    )
