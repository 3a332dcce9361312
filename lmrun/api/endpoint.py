"""One path of the table as an ASGI application: from a request to its handler's answer.

It knows no path and no dialect.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from lmrun.api.body import parse_json, read_body
from lmrun.api.client import Client, answering
from lmrun.api.errors import MethodNotAllowed
from lmrun.api.http.boundary import extra_headers, request_id
from lmrun.api.http.deadline import in_time, set_deadline
from lmrun.api.http.disconnect import run_while_connected
from lmrun.api.http.gate import door_of, granted_scopes, priority_of, wants_steps
from lmrun.api.http.pace import Pace
from lmrun.api.http.record import current_record
from lmrun.api.leniency import drop_unknown, show_names
from lmrun.api.routes import Call, Route, is_granted
from lmrun.errors import Forbidden, InvalidParameter
from lmrun.runtime.turns import prioritized

log = logging.getLogger("lmrun.api")

CONTROL_BODY_LIMIT_BYTES = 1 << 20
IGNORED_HEADER = b"x-lmrun-ignored-parameters"


class Endpoint:
    """All methods of one path: choose the route, take the body, answer while somebody listens."""

    def __init__(self, path: str, routes: Iterable[Route]) -> None:
        self._path = path
        self._pace = Pace()
        self._methods: dict[str, Route] = {str(route.method): route for route in routes}
        if "GET" in self._methods:
            self._methods["HEAD"] = self._methods["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = current_record()
        if record is not None:
            record.route = self._path
        route = self._choose(scope)
        call = await self._take(route, scope, receive)
        door = door_of(scope)
        is_limited = door is not None and not route.is_endless
        deadline = set_deadline(scope, door.request_time_s if door and is_limited else None)

        async def answer() -> None:
            async with in_time(deadline):
                made = await route.handler(call)
            await made(scope, receive, send)

        client = Client(
            granted_scopes(scope), door is None, wants_steps(scope), _find_idempotency_keys(scope)
        )
        with prioritized(priority_of(scope)), answering(client):
            await run_while_connected(receive, answer)

    def _choose(self, scope: Scope) -> Route:
        route = self._methods.get(scope["method"])
        if route is None:
            raise MethodNotAllowed(
                f"{scope['path']!r} takes {', '.join(self._methods)}, not {scope['method'][:20]}.",
                allowed=tuple(self._methods),
            )
        granted = granted_scopes(scope)
        if granted is not None and route.scope is not None and not is_granted(route.scope, granted):
            raise Forbidden(f"The API key does not grant {route.scope!r}.")
        return route

    async def _take(self, route: Route, scope: Scope, receive: Receive) -> Call:
        """The request as its handler gets it. Where the door says so, what nobody knows is left
        out, and named in a header of the answer and in the log."""
        door = door_of(scope)
        is_lenient = door is not None and door.is_lenient
        query = _parse_query(scope["query_string"])
        unknown = [name for name in query if name not in route.query]
        if unknown and not is_lenient:
            raise InvalidParameter(
                f"{route.path} has no query parameter {unknown[0][:80]!r}.", param=unknown[0][:80]
            )
        ignored = [f"?{name}" for name in unknown]
        json: Any = None
        if route.request is not None:
            limit = door.body_limit_bytes if door else CONTROL_BODY_LIMIT_BYTES
            body = await read_body(scope, receive, limit)
            await self._pace.begin()
            json = parse_json(body)
            if is_lenient:
                json, dropped = drop_unknown(route.request, json, len(body))
                ignored += dropped
        if ignored:
            _report_ignored(scope, ignored)
        known = {name: value for name, value in query.items() if name in route.query}
        return Call(json, scope.get("path_params", {}), known, request_id(scope))


def _find_idempotency_keys(scope: Scope) -> tuple[str, ...]:
    return tuple(
        value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"
    )


def _parse_query(query_string: bytes) -> dict[str, str]:
    """Values of a name that ends in `[]`, which is a list's, are joined by commas.

    Raises InvalidParameter for any other name that comes twice.
    """
    query: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name in query and not name.endswith("[]"):
            raise InvalidParameter(f"{name[:80]!r} comes twice in the query.", param=name[:80])
        query[name] = f"{query[name]},{value}" if name in query else value
    return query


def _report_ignored(scope: Scope, names: Sequence[str]) -> None:
    shown = show_names(names)
    extra_headers(scope).append((IGNORED_HEADER, shown.encode()))
    log.warning("request %s: ignored parameters: %s", request_id(scope), shown)
    record = current_record()
    if record is not None:
        record.ignored += names
