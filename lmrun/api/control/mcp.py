"""MCP servers over the unix socket only: what they are, what there is to agree to, and logging in.

No request says what is started or called: that is the profile's, and a client can only agree to it
as it was shown.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Protocol

import msgspec
from pydantic import Field
from starlette.types import ASGIApp

from lmrun.api.control.handlers import parse
from lmrun.api.control.routes import PREFIX
from lmrun.api.routes import Call, Response, Route
from lmrun.api.sse import JsonAnswer, open_stream, to_event
from lmrun.errors import (
    LockMismatch,
    McpChanged,
    McpLoginFailed,
    McpNotFound,
    McpUnreachable,
    OutboundRefused,
    StoreError,
)
from lmrun.settings.base import Settings
from lmrun.tools.mcp.reports import LoggedOut, LoginEvent, McpReview, McpServers

_WHERE = f"{PREFIX}/mcp"
_encode = msgspec.json.Encoder().encode

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ApproveRequest(Settings):
    """What somebody agrees to, each by the digest that it was shown with. `identity`: what is
    started, or called; None: nothing new. `tools`: by name."""

    identity: Digest | None = None
    tools: dict[Annotated[str, Field(min_length=1, max_length=128)], Digest] = Field(
        default_factory=dict, max_length=1024
    )


class LoginRequest(Settings):
    """Nothing to say: everything is in the profile."""


class LogoutRequest(Settings):
    """Nothing to say."""


class McpHouse(Protocol):
    """The MCP servers of the applied profile. Every method with a name raises McpNotFound."""

    async def servers(self) -> McpServers: ...

    async def review(self, server: str) -> McpReview:
        """What there is to agree to. Starts the server where somebody has agreed to that, to learn
        of its tools. Raises McpUnreachable where there is no such program, LockMismatch for a lock
        file that cannot be read, and StoreError."""
        ...

    async def approve(
        self, server: str, identity: str | None, tools: Mapping[str, str]
    ) -> McpReview:
        """Agree, and what there is to agree to after that. Raises McpChanged beside what `review`
        raises."""
        ...

    def log_in(self, server: str) -> AsyncGenerator[LoginEvent, None]:
        """Raises McpLoginFailed, OutboundRefused, OutboundFailed and StoreError."""
        ...

    async def log_out(self, server: str) -> LoggedOut:
        """Raises StoreError."""
        ...


def mcp_routes(house: McpHouse) -> tuple[Route, ...]:
    """The five rows."""

    async def servers(call: Call) -> ASGIApp:
        return JsonAnswer(await house.servers())

    async def review(call: Call) -> ASGIApp:
        return JsonAnswer(await house.review(call.path["server"]))

    async def approve(call: Call) -> ASGIApp:
        request = parse(ApproveRequest, call.json)
        done = await house.approve(call.path["server"], request.identity, request.tools)
        return JsonAnswer(done)

    reviewed = {200: (Response("What there is to agree to", McpReview),)}
    return (
        Route(
            "GET",
            _WHERE,
            servers,
            "The MCP servers that the profile declares, and how they are",
            responses={200: (Response("All of them", McpServers),)},
        ),
        Route(
            "GET",
            f"{_WHERE}/{{server}}",
            review,
            "What there is to agree to about an MCP server: what is started, and its tools",
            responses=reviewed,
            errors=(McpNotFound, McpUnreachable, LockMismatch, StoreError),
        ),
        Route(
            "POST",
            f"{_WHERE}/{{server}}/approve",
            approve,
            "Agree to what was shown of an MCP server",
            request=ApproveRequest,
            responses=reviewed,
            errors=(McpNotFound, McpChanged, McpUnreachable, LockMismatch, StoreError),
        ),
        *_make_login_routes(house),
    )


def _make_login_routes(house: McpHouse) -> tuple[Route, ...]:
    async def log_in(call: Call) -> ASGIApp:
        parse(LoginRequest, call.json)
        return await open_stream(_to_sse(house.log_in(call.path["server"])))

    async def log_out(call: Call) -> ASGIApp:
        parse(LogoutRequest, call.json)
        return JsonAnswer(await house.log_out(call.path["server"]))

    return (
        Route(
            "POST",
            f"{_WHERE}/{{server}}/login",
            log_in,
            "Log in to a remote MCP server: where somebody has to go, then what came of it",
            request=LoginRequest,
            responses={200: (Response("A stream of events", LoginEvent, "text/event-stream"),)},
            errors=(McpNotFound, McpLoginFailed, OutboundRefused, StoreError),
        ),
        Route(
            "POST",
            f"{_WHERE}/{{server}}/logout",
            log_out,
            "Forget the credential for a remote MCP server",
            request=LogoutRequest,
            responses={200: (Response("It is forgotten", LoggedOut),)},
            errors=(McpNotFound, StoreError),
        ),
    )


async def _to_sse(events: AsyncGenerator[LoginEvent, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(events) as following:
        async for event in following:
            yield to_event(_encode(event))
