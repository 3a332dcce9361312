"""Runs over HTTP: started, followed, listed, cancelled, resumed, and asked about.

It knows no model and no tool; who may see a run is decided here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import msgspec
from starlette.types import ASGIApp

from lmrun.api.act.bodies import (
    ActBody,
    ApproveBody,
    Approved,
    CancelBody,
    ResumeBody,
    to_act_request,
)
from lmrun.api.client import Client, current_client
from lmrun.api.http.record import current_record
from lmrun.api.routes import Call, is_granted
from lmrun.api.sse import JsonAnswer, open_stream, to_event
from lmrun.api.validate import validate_request
from lmrun.errors import Forbidden, InvalidParameter, RunNotFound
from lmrun.tools.act.requests import RunDetail, RunState, RunSummary
from lmrun.tools.act.runs import Runs
from lmrun.tools.act.stream import RunEvent, RunList, RunStarted
from lmrun.tools.tool import Caller

ACCEPTED = 202
MAX_LISTED = 1000
STATES: tuple[RunState, ...] = ("running", "interrupted", "completed", "failed", "cancelled")

_encode = msgspec.json.Encoder().encode


class ActHandlers:
    """One method per route."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def start(self, call: Call) -> ASGIApp:
        body = validate_request(ActBody, call.json)
        client = current_client()
        client.require("inference", "A run, which has a model generate,")
        require_answers(client, body)
        request = to_act_request(body, client.idempotency_keys)
        run = await self._runs.start(request, make_caller(client))
        if body.stream:
            return await open_stream(self._tell(run))
        if body.background:
            return JsonAnswer(await self._runs.get(run.id), ACCEPTED)
        return JsonAnswer(await self._finish(run.id))

    async def list(self, call: Call) -> ASGIApp:
        state, limit = parse_state(call.query), parse_limit(call.query)
        runs = await self._runs.list(state, limit=limit)
        mine = tuple(run for run in runs if may_see(current_client(), _key(), run))
        return JsonAnswer(RunList(mine))

    async def get(self, call: Call) -> ASGIApp:
        return JsonAnswer(await self._find(call))

    async def follow(self, call: Call) -> ASGIApp:
        return await open_stream(self._tell((await self._find(call)).summary))

    async def cancel(self, call: Call) -> ASGIApp:
        validate_request(CancelBody, call.json)
        run = (await self._find(call)).summary
        return JsonAnswer(await self._runs.cancel(run.id))

    async def resume(self, call: Call) -> ASGIApp:
        body = validate_request(ResumeBody, call.json)
        current_client().require("inference", "A run, which has a model generate,")
        require_answers(current_client(), body)
        run = (await self._find(call)).summary
        run = await self._runs.resume(
            run.id, approvals=body.approvals, elicitations=body.elicitations
        )
        if body.stream:
            return await open_stream(self._tell(run))
        if run.background:
            return JsonAnswer(await self._runs.get(run.id), ACCEPTED)
        return JsonAnswer(await self._finish(run.id))

    async def approve(self, call: Call) -> ASGIApp:
        body = validate_request(ApproveBody, call.json)
        require_somebody(current_client())
        run = (await self._find(call)).summary
        await self._runs.reply(run.id, body.call, body.reply)
        return JsonAnswer(Approved(body.call, body.reply))

    async def _find(self, call: Call) -> RunDetail:
        """The run of the path. Raises RunNotFound also for one that is somebody else's."""
        detail = await self._runs.get(call.path["id"])
        if not may_see(current_client(), _key(), detail.summary):
            raise RunNotFound(f"There is no run {call.path['id'][:80]!r}.")
        return detail

    async def _finish(self, id: str) -> RunDetail:
        """The run when it has ended. Raises what ended it."""
        async with aclosing(self._runs.follow(id)) as events:
            async for _ in events:
                pass
        return await self._runs.get(id)

    async def _tell(self, run: RunSummary) -> AsyncGenerator[bytes, None]:
        # At once, while its model may still be loaded: the run can be cancelled by its id.
        yield _to_sse(RunStarted(run))
        async with aclosing(self._runs.follow(run.id)) as events:
            async for event in events:
                yield _to_sse(event)


def make_caller(client: Client) -> Caller:
    """Who starts a run."""
    return Caller(door="cli" if client.is_owner else "act", key=_key())


def require_answers(client: Client, body: ActBody | ResumeBody) -> None:
    """Raises Forbidden where the client may not answer what it says it does."""
    if body.approvals:
        require_somebody(client)
    if body.elicitations and not client.is_owner:
        raise Forbidden(
            "Questions of MCP servers are answered over the unix socket only.",
            hint="Leave `elicitations` out; `lmrun mcp answer` answers them, too.",
        )


def require_somebody(client: Client) -> None:
    """Raises Forbidden where nobody is known who could agree to a call: any program of this machine
    may use a port that asks for no key."""
    if not client.is_owner and client.granted is None:
        raise Forbidden(
            "Calls can be agreed to with an API key that grants 'tools', or over the unix socket.",
            hint="Use `lmrun act`, or declare `server.api_keys` in the profile.",
        )


def may_see(client: Client, key: str | None, run: RunSummary) -> bool:
    """Who sees a run: whoever started it, an `admin`, and this machine's user."""
    if client.is_owner or client.granted is None or is_granted("admin", client.granted):
        return True
    return run.key == key


def parse_state(query: Mapping[str, str]) -> RunState | None:
    """`state=running`. Raises InvalidParameter."""
    given = query.get("state")
    if given is None:
        return None
    for state in STATES:
        if state == given:
            return state
    raise InvalidParameter(f"`state`: it is {', '.join(STATES)}.", param="state")


def parse_limit(query: Mapping[str, str]) -> int:
    """`limit=20`. Raises InvalidParameter."""
    text = query.get("limit", "100")
    is_number = text.isascii() and text.isdigit() and len(text) < 5
    if not is_number or not 1 <= int(text) <= MAX_LISTED:
        raise InvalidParameter(f"`limit`: it is a number from 1 to {MAX_LISTED}.", param="limit")
    return int(text)


def _key() -> str | None:
    """The name of the client's API key."""
    record = current_record()
    return record.key if record is not None else None


def _to_sse(event: RunEvent) -> bytes:
    return to_event(_encode(event))
