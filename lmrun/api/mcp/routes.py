"""The rows of lmrun's MCP server in the route table: one path, one JSON-RPC message at a time."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field
from starlette.types import ASGIApp

from lmrun.api.errors import NotAcceptable, SessionNotFound, TooManySessions
from lmrun.api.mcp.envelope import ENVELOPE
from lmrun.api.routes import Call, Handler, Response, Route
from lmrun.api.validate import validate_request
from lmrun.settings.base import Settings
from lmrun.tools.mcp.reports import OWN_PATH


class JsonRpcMessage(Settings):
    """A request, a notification or a response of JSON-RPC 2.0, as the Model Context Protocol has
    them. What its method takes is the protocol's affair."""

    jsonrpc: Literal["2.0"]
    id: str | int | None = None
    method: Annotated[str, Field(max_length=256)] | None = None
    params: dict[str, Any] | None = None
    result: Any = None
    error: dict[str, Any] | None = None


class Answering(Protocol):
    """lmrun's MCP server."""

    def make_answer(self, body: bytes) -> ASGIApp:
        """What answers the message that `body` is; empty: the end of a session."""
        ...


def make_mcp_routes(server: Answering) -> tuple[Route, ...]:
    """All of them. There is no GET: the server says nothing unasked."""
    return (
        Route(
            "POST",
            OWN_PATH,
            _make_message_handler(server),
            "A message to lmrun's MCP server (streamable HTTP)",
            request=JsonRpcMessage,
            responses={
                200: (
                    Response("The answer", JsonRpcMessage),
                    Response("or events, progress among them", JsonRpcMessage, "text/event-stream"),
                ),
                202: (Response("Taken: it wants no answer"),),
            },
            errors=(NotAcceptable, SessionNotFound, TooManySessions),
            envelope=ENVELOPE,
        ),
        Route(
            "DELETE",
            OWN_PATH,
            _make_end_handler(server),
            "End a session of lmrun's MCP server",
            responses={200: (Response("It has ended"),)},
            errors=(NotAcceptable, SessionNotFound),
            envelope=ENVELOPE,
        ),
    )


def _make_message_handler(server: Answering) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        validate_request(JsonRpcMessage, call.json)
        return server.make_answer(json.dumps(call.json).encode())

    return answer


def _make_end_handler(server: Answering) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        return server.make_answer(b"")

    return answer
