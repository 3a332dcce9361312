"""The door as a layer: everything that enters, on any path, has passed it. It knows no route
beyond the paths that are open to callers without a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from lmrun.api.door import (
    Door,
    Head,
    Key,
    check_framing,
    check_host,
    check_key,
    check_origin,
    check_upgrade,
    choose_priority,
    choose_steps,
    find_credentials,
)
from lmrun.api.errors import TooManyAttempts
from lmrun.api.http.boundary import extra_headers
from lmrun.api.http.media import check_media_type
from lmrun.api.http.record import current_record
from lmrun.api.http.throttle import Throttle
from lmrun.api.http.turnstile import Turnstile
from lmrun.errors import Unauthorized
from lmrun.runtime.turns import Priority

_DOOR = "lmrun.door"
_GRANTED = "lmrun.granted"
_PRIORITY = "lmrun.priority"
_STEPS = "lmrun.steps"

_PREFLIGHT_HEADERS = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    # The wildcard does not cover Authorization; browsers want that one by name.
    (b"access-control-allow-headers", b"authorization, *"),
    (b"access-control-max-age", b"600"),
)
_EXPOSED = b"x-request-id, retry-after, x-lmrun-ignored-parameters"


def door_of(scope: Scope) -> Door | None:
    """The door the request came through; None on a listener without one."""
    return cast("Door | None", scope.get(_DOOR))


def granted_scopes(scope: Scope) -> frozenset[str] | None:
    """What the request's key grants; None where no key is asked for."""
    return cast("frozenset[str] | None", scope.get(_GRANTED))


def priority_of(scope: Scope) -> Priority:
    """The request's class among those that wait."""
    return cast("Priority", scope.get(_PRIORITY, "normal"))


def wants_steps(scope: Scope) -> bool:
    """Whether the request's client wants to read what an agent does."""
    return cast("bool", scope.get(_STEPS, False))


class Gate:
    """Checks each request against the door as it is at that moment."""

    def __init__(
        self, app: ASGIApp, door: Callable[[], Door], open_paths: frozenset[str], throttle: Throttle
    ) -> None:
        self._app = app
        self._door = door
        self._open_paths = open_paths
        self._throttle = throttle
        self._turnstile = Turnstile()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        door, head = self._door(), _read_head(scope)
        check_framing(head)
        origin = check_origin(door, head, check_host(door, head))
        if origin is not None:
            extra_headers(scope).extend(_cors_headers(origin))
            if _is_preflight(head):
                await _answer_preflight(send)
                return
        with self._admit(door, head, scope):
            if not head.is_websocket:
                check_upgrade(head)
                check_media_type(head)
            scope[_STEPS] = choose_steps(head)
            scope[_DOOR] = door
            await self._app(scope, receive, send)

    @contextmanager
    def _admit(self, door: Door, head: Head, scope: Scope) -> Iterator[None]:
        """Inside by a key, where one is asked for."""
        if not door.keys or scope["path"] in self._open_paths:
            scope[_PRIORITY] = choose_priority(None, head)
            yield
            return
        key = self._check_key(door, head, scope)
        scope[_PRIORITY] = choose_priority(key, head)
        scope[_GRANTED] = key.scopes
        record = current_record()
        if record is not None:
            record.key = key.name
        if head.is_websocket:
            # A client that stays, and asks for many things or for none.
            yield
            return
        with self._turnstile.passing(key.name, door.streams_per_key):
            yield

    def _check_key(self, door: Door, head: Head, scope: Scope) -> Key:
        peer = (scope.get("client") or ("",))[0]
        if self._throttle.is_exhausted(peer):
            raise TooManyAttempts("Too many wrong API keys from this address.", retry_after_s=1)
        try:
            return check_key(door, find_credentials(head))
        except Unauthorized:
            self._throttle.record_failure(peer)
            raise


def _read_head(scope: Scope) -> Head:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    address, port = scope.get("server") or (None, None)
    return Head(
        # A handshake opens a channel that can change things.
        method="POST" if scope["type"] == "websocket" else scope["method"],
        headers=headers,
        server=None if port is None else (str(address), int(port)),
        is_websocket=scope["type"] == "websocket",
    )


def _is_preflight(head: Head) -> bool:
    return head.method == "OPTIONS" and bool(head.values("access-control-request-method"))


def _cors_headers(origin: str) -> tuple[tuple[bytes, bytes], ...]:
    """`origin` is the configured value, not the request's text."""
    return (
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    )


async def _answer_preflight(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT_HEADERS)})
    await send({"type": "http.response.body", "body": b""})
