"""Questions of MCP servers, over the unix socket: followed, and answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Literal

import msgspec
from pydantic import Field
from starlette.types import ASGIApp

from lmrun.api.control.routes import PREFIX
from lmrun.api.routes import Call, Response, Route
from lmrun.api.sse import JsonAnswer, open_stream, to_event
from lmrun.api.validate import validate_request
from lmrun.errors import ElicitationNotFound, InvalidParameter
from lmrun.settings.base import Settings
from lmrun.tools.mcp.answering.elicitations import Elicitations
from lmrun.tools.mcp.answering.questions import Elicited
from lmrun.tools.mcp.reports import ElicitationClosed, ElicitationEvent

_encode = msgspec.json.Encoder().encode


class ElicitationReply(Settings):
    """What somebody says. `content`, with `accept`: an object that satisfies the question's schema,
    else the question stays open."""

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] = Field(default_factory=dict)


def elicitation_routes(elicitations: Elicitations) -> tuple[Route, ...]:
    """The two rows."""

    async def follow(call: Call) -> ASGIApp:
        return await open_stream(_to_sse(elicitations))

    async def answer(call: Call) -> ASGIApp:
        reply = validate_request(ElicitationReply, call.json)
        elicitations.answer(call.path["id"], Elicited(reply.action, reply.content))
        return JsonAnswer(ElicitationClosed(call.path["id"]))

    where = f"{PREFIX}/elicitations"
    return (
        Route(
            "GET",
            where,
            follow,
            "Questions of MCP servers as they come; whoever follows is there to be asked",
            responses={
                200: (Response("A stream of events", ElicitationEvent, "text/event-stream"),)
            },
            is_endless=True,
        ),
        Route(
            "POST",
            f"{where}/{{id}}",
            answer,
            "Answer a question of an MCP server",
            request=ElicitationReply,
            responses={200: (Response("The answer was taken", ElicitationClosed),)},
            errors=(ElicitationNotFound, InvalidParameter),
        ),
    )


async def _to_sse(elicitations: Elicitations) -> AsyncGenerator[bytes, None]:
    with elicitations.following() as events:
        # At once: whoever reads this knows that questions reach it.
        yield b": following\n\n"
        async for event in events:
            yield to_event(_encode(event))
