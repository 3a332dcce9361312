"""The control API: status and events for everybody, profiles only over the unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp

from lmrun.api.control.changes import Changes
from lmrun.api.control.requests import (
    ApplyRequest,
    DownRequest,
    ProfileRequest,
    RollbackRequest,
)
from lmrun.api.routes import Call
from lmrun.api.sse import JsonAnswer, open_stream, to_event
from lmrun.errors import InvalidParameter, ProfileInvalid
from lmrun.profile.report import problems_to_json
from lmrun.reconcile.intake import Intake, validate
from lmrun.reconcile.outcome import ApplyEvent
from lmrun.reconcile.records import History, StoredProfile
from lmrun.reconcile.status import Status

_encode = msgspec.json.Encoder().encode
T = TypeVar("T")


class Control(Protocol):
    """What the control API is about."""

    @property
    def intake(self) -> Intake: ...

    @property
    def changes(self) -> Changes: ...

    @property
    def environment(self) -> Mapping[str, str]: ...

    def status(self) -> Status: ...

    def history(self) -> History:
        """Raises StoreError."""

    def read_generation(self, number: int) -> StoredProfile:
        """Raises GenerationUnknown and StoreError."""

    async def stop(self) -> None:
        """Unload everything and let the server end after the answer."""


class ControlHandlers:
    """One method per route."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def status(self, call: Call) -> ASGIApp:
        return JsonAnswer(self._control.status())

    async def events(self, call: Call) -> ASGIApp:
        return await open_stream(self._statuses())

    async def validate(self, call: Call) -> ASGIApp:
        request = parse(ProfileRequest, call.json)
        environment = {**self._control.environment, **request.environment}
        problems = await asyncio.to_thread(validate, request.path, environment)
        return JsonAnswer({"problems": problems_to_json(problems)})

    async def plan(self, call: Call) -> ASGIApp:
        request = parse(ProfileRequest, call.json)
        try:
            return JsonAnswer(await self._control.intake.plan(request.path, request.environment))
        except ProfileInvalid as invalid:
            return refusal(invalid)

    async def apply(self, call: Call) -> ASGIApp:
        request = parse(ApplyRequest, call.json)
        events = self._control.intake.apply(
            request.path,
            request.environment,
            watch=request.watch,
            locked=request.locked,
            base_generation=request.base_generation,
            expected=request.read_plan(),
        )
        try:
            return await open_stream(_to_sse(events))
        except ProfileInvalid as invalid:
            return refusal(invalid)

    async def history(self, call: Call) -> ASGIApp:
        return JsonAnswer(await asyncio.to_thread(self._control.history))

    async def generation(self, call: Call) -> ASGIApp:
        number = int(call.path["number"])
        return JsonAnswer(await asyncio.to_thread(self._control.read_generation, number))

    async def plan_rollback(self, call: Call) -> ASGIApp:
        request = parse(RollbackRequest, call.json)
        intake = self._control.intake
        try:
            return JsonAnswer(await intake.plan_rollback(request.generation, request.environment))
        except ProfileInvalid as invalid:
            return refusal(invalid)

    async def roll_back(self, call: Call) -> ASGIApp:
        request = parse(RollbackRequest, call.json)
        events = self._control.intake.roll_back(
            request.generation, request.environment, base_generation=request.base_generation
        )
        try:
            return await open_stream(_to_sse(events))
        except ProfileInvalid as invalid:
            return refusal(invalid)

    async def down(self, call: Call) -> ASGIApp:
        parse(DownRequest, call.json)
        await self._control.stop()
        return JsonAnswer({"unloaded": True})

    async def _statuses(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._control.changes.listen()) as changes:
            async for _ in changes:
                yield to_event(_encode(self._control.status()))


def refusal(invalid: ProfileInvalid) -> ASGIApp:
    """The error envelope, with every problem beside the message for who shows them one by one."""
    problems = problems_to_json(invalid.problems)
    error = {"type": invalid.code, "code": invalid.code, "message": invalid.message}
    return JsonAnswer({"error": {**error, "param": None, "problems": problems}}, 400)


def parse(kind: type[T], json: Any) -> T:
    """The request's body as `kind`. Raises InvalidParameter naming the first wrong field."""
    try:
        return TypeAdapter(kind).validate_python(json)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidParameter(f"{field or 'body'}: {first['msg']}.", param=field) from None


async def _to_sse(reports: AsyncGenerator[ApplyEvent, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(reports) as events:
        async for event in events:
            yield to_event(_encode(event))
