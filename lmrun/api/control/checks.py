"""Asking a profile's checks, over the unix socket only: the request names a profile file.

What was observed goes back; to judge it takes golden files, which are the client's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Protocol

import msgspec
from pydantic import Field
from starlette.types import ASGIApp

from lmrun.api.control.handlers import parse, refusal
from lmrun.api.control.requests import ProfileRequest
from lmrun.api.control.routes import PREFIX
from lmrun.api.routes import Call, Response, Route
from lmrun.api.sse import open_stream, to_event
from lmrun.checks.observing import observe_all
from lmrun.checks.running import choose_checks
from lmrun.checks.values import Ask, CheckEvent
from lmrun.errors import InvalidParameter, ProfileInvalid
from lmrun.reconcile.intake import Intake
from lmrun.settings.check import Check

_encode = msgspec.json.Encoder().encode


class CheckRequest(ProfileRequest):
    """`names`: which of the profile's checks to ask; None for all of them."""

    names: Annotated[tuple[str, ...], Field(strict=False)] | None = None


class Asking(Protocol):
    """What asks, and what reads profiles."""

    @property
    def intake(self) -> Intake: ...

    @property
    def ask(self) -> Ask: ...


def check_routes(asking: Asking) -> tuple[Route, ...]:
    """The one row."""

    async def answer(call: Call) -> ASGIApp:
        request = parse(CheckRequest, call.json)
        try:
            loaded = await asking.intake.read(request.path, request.environment)
        except ProfileInvalid as invalid:
            return refusal(invalid)
        unknown = sorted(set(request.names or ()) - loaded.profile.checks.keys())
        if unknown:
            raise InvalidParameter(
                f"names: the profile has no check {unknown[0]!r}.", param="names"
            )
        return await open_stream(_to_sse(choose_checks(loaded, request.names), asking.ask))

    return (
        Route(
            "POST",
            f"{PREFIX}/check",
            answer,
            "Ask the checks of a profile file, one after another, and report what was observed",
            request=CheckRequest,
            responses={200: (Response("A stream of events", CheckEvent, "text/event-stream"),)},
            errors=(ProfileInvalid,),
        ),
    )


async def _to_sse(checks: Mapping[str, Check], ask: Ask) -> AsyncGenerator[bytes, None]:
    async with aclosing(observe_all(checks, ask)) as events:
        async for event in events:
            yield to_event(_encode(event))
