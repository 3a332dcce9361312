"""The HTTP application: the route table behind the door. It knows no server and no socket.

Boundary (request id, errors) → Gate (Host, Origin, key) → Router → body → handler
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl

import msgspec
from starlette import routing
from starlette.types import ASGIApp, Receive, Scope, Send

from lmrun.api.body import parse_json, read_body
from lmrun.api.door import Door
from lmrun.api.envelope import OPENAI, Envelope
from lmrun.api.errors import MethodNotAllowed, RouteNotFound
from lmrun.api.http.boundary import Boundary, request_id
from lmrun.api.http.disconnect import run_while_connected
from lmrun.api.http.gate import Gate, door_of, granted_scopes
from lmrun.api.http.throttle import Throttle
from lmrun.api.openai.routes import make_openai_routes
from lmrun.api.openapi import make_openapi
from lmrun.api.routes import Call, Method, Response, Route
from lmrun.api.serving import Pool
from lmrun.api.sse import JsonAnswer
from lmrun.errors import Forbidden, InvalidParameter

CONTROL_BODY_LIMIT_BYTES = 1 << 20


class Health(msgspec.Struct, frozen=True):
    """The server answers; whether models do is in their status."""

    status: str = "ok"


def make_routes(pool: Pool, extra_routes: Sequence[Route] = ()) -> tuple[Route, ...]:
    """The port's whole table, `/openapi.json` made from the rest included."""
    routes = (_make_health_route(), *make_openai_routes(pool), *extra_routes)
    return (*routes, _make_openapi_route(routes))


def build_app(pool: Pool, door: Callable[[], Door], extra_routes: Sequence[Route] = ()) -> ASGIApp:
    """The application of the HTTP port. `door` is asked at each request."""
    routes = make_routes(pool, extra_routes)
    open_paths = frozenset(route.path for route in routes if route.scope is None)
    gate = Gate(make_router(routes), door, open_paths, Throttle())
    return Boundary(gate, make_envelope_finder(routes))


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
    by_path: dict[str, dict[Method, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    return routing.Router(
        [routing.Route(path, Endpoint(methods)) for path, methods in by_path.items()],
        # A redirect would repeat the request's Host in a header.
        redirect_slashes=False,
        default=_refuse_path,
    )


class Endpoint:
    """All methods of one path: choose the route, take the body, answer while somebody listens."""

    def __init__(self, methods: Mapping[Method, Route]) -> None:
        self._methods: dict[str, Route] = {str(name): route for name, route in methods.items()}
        if "GET" in self._methods:
            self._methods["HEAD"] = self._methods["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._choose(scope)
        query = _parse_query(route, scope["query_string"])
        json = None
        if route.request is not None:
            door = door_of(scope)
            limit = door.body_limit_bytes if door else CONTROL_BODY_LIMIT_BYTES
            json = parse_json(await read_body(scope, receive, limit))
        call = Call(json, scope.get("path_params", {}), query, request_id(scope))

        async def answer() -> None:
            await (await route.handler(call))(scope, receive, send)

        await run_while_connected(receive, answer)

    def _choose(self, scope: Scope) -> Route:
        route = self._methods.get(scope["method"])
        if route is None:
            raise MethodNotAllowed(
                f"{scope['path']!r} takes {', '.join(self._methods)}, not {scope['method'][:20]}.",
                allowed=tuple(self._methods),
            )
        granted = granted_scopes(scope)
        if granted is not None and route.scope is not None and route.scope not in granted:
            raise Forbidden(f"The API key does not grant {route.scope!r}.")
        return route


def _parse_query(route: Route, query_string: bytes) -> dict[str, str]:
    """The query's parameters. Raises InvalidParameter for one the route does not have."""
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    for name, _ in pairs:
        if name not in route.query:
            raise InvalidParameter(
                f"{route.path} has no query parameter {name[:80]!r}.", param=name[:80]
            )
    return dict(pairs)


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
    async def answer(call: Call) -> ASGIApp:
        return JsonAnswer(document)

    route = Route(
        "GET",
        "/openapi.json",
        answer,
        "This document",
        responses={200: (Response("OpenAPI 3.1", dict),)},
    )
    document = msgspec.json.encode(make_openapi((*routes, route)))
    return route
