"""The HTTP application: the route table behind the door. It knows no server and no socket.

Journal (record) → Boundary (request id, errors) → Gate (Host, Origin, key) → Router → Endpoint
(body) → handler
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache

import msgspec
from starlette import routing
from starlette.types import ASGIApp, Receive, Scope, Send

from lmrun.api.anthropic.routes import make_anthropic_routes
from lmrun.api.door import Door
from lmrun.api.endpoint import Endpoint
from lmrun.api.envelope import OPENAI, Envelope
from lmrun.api.errors import RouteNotFound
from lmrun.api.http.boundary import Boundary
from lmrun.api.http.gate import Gate
from lmrun.api.http.journal import Journal
from lmrun.api.http.record import Record
from lmrun.api.http.throttle import Throttle
from lmrun.api.llama_server.routes import make_llama_server_routes
from lmrun.api.openai.routes import make_openai_routes
from lmrun.api.openapi import make_openapi
from lmrun.api.routes import Call, Response, Route
from lmrun.api.serving import Pool
from lmrun.api.sse import JsonAnswer


class Health(msgspec.Struct, frozen=True):
    """The server answers; whether models do is in their status."""

    status: str = "ok"


def make_routes(pool: Pool, extra_routes: Sequence[Route] = ()) -> tuple[Route, ...]:
    """The port's whole table, `/openapi.json` made from the rest included."""
    dialects = (
        *make_openai_routes(pool),
        *make_anthropic_routes(pool),
        *make_llama_server_routes(pool),
    )
    routes = (_make_health_route(), *dialects, *extra_routes)
    return (*routes, _make_openapi_route(routes))


def build_app(
    pool: Pool,
    door: Callable[[], Door],
    extra_routes: Sequence[Route] = (),
    on_end: Callable[[Record], None] = lambda record: None,
) -> ASGIApp:
    """The application of the HTTP port. `door` is asked at each request; `on_end` hears of it
    when it has ended."""
    return put_behind_door(make_routes(pool, extra_routes), door, on_end)


def put_behind_door(
    routes: Sequence[Route], door: Callable[[], Door], on_end: Callable[[Record], None]
) -> ASGIApp:
    """An application of `routes`, in all layers."""
    open_paths = frozenset(route.path for route in routes if route.scope is None)
    gate = Gate(make_router(routes), door, open_paths, Throttle())
    return Journal(Boundary(gate, make_envelope_finder(routes)), on_end)


def build_socket_app(routes: Sequence[Route]) -> ASGIApp:
    """The application of a socket whose file permissions are its door."""
    return Boundary(make_router(routes), make_envelope_finder(routes))


def make_envelope_finder(routes: Sequence[Route]) -> Callable[[str], Envelope]:
    """How errors on a path are written, whatever its method: also those before any routing."""
    special = {route.path: route.envelope for route in routes if route.envelope is not OPENAI}
    rules = [(routing.compile_path(path)[0], envelope) for path, envelope in special.items()]

    def find(path: str) -> Envelope:
        return next((envelope for rule, envelope in rules if rule.match(path)), OPENAI)

    return find


def make_router(routes: Sequence[Route]) -> ASGIApp:
    """Starlette's router over the table, one endpoint per path."""
    by_path: dict[str, list[Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, []).append(route)
    return routing.Router(
        [routing.Route(path, Endpoint(path, rows)) for path, rows in by_path.items()],
        # A redirect would repeat the request's Host in a header.
        redirect_slashes=False,
        default=_refuse_path,
    )


async def _refuse_path(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        raise RouteNotFound("This server has no WebSocket here.")
    if scope["type"] == "http":
        raise RouteNotFound(f"There is no {scope['path'][:200]!r} here.", hint="See /openapi.json.")


def _make_health_route() -> Route:
    async def answer(call: Call) -> ASGIApp:
        return JsonAnswer(Health())

    return Route(
        "GET",
        "/health",
        answer,
        "Whether the server answers",
        scope=None,
        responses={200: (Response("It does", Health),)},
    )


def _make_openapi_route(routes: Sequence[Route]) -> Route:
    @cache
    def write() -> bytes:
        return msgspec.json.encode(make_openapi((*routes, route)))

    async def answer(call: Call) -> ASGIApp:
        # Some 60 ms of work that few ask for: not at every start, and beside the loop.
        return JsonAnswer(await asyncio.to_thread(write))

    route = Route(
        "GET",
        "/openapi.json",
        answer,
        "This document",
        responses={200: (Response("OpenAPI 3.1", dict),)},
    )
    return route
