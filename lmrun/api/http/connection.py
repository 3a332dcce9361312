"""One client's connection, with an end to its patience. It knows no route.

uvicorn waits forever for a request's head and for a client that does not read; both would be
free ways to hold a connection, the second one a generation, too.
"""

from __future__ import annotations

import asyncio
import math
import resource
import secrets
from collections.abc import Callable
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from lmrun.api.errors import ErrorBody, TooManyConnections, to_json
from lmrun.api.http.boundary import Boundary

HEAD_TIMEOUT_S = 10.0
WRITE_STALL_S = 60.0
MOST_REFUSED = 64
"""Connections beyond the limit that are told so; further ones are closed without a word."""
_WANTED_FILES = 8192


def allow_connections() -> None:
    """Each one is an open file, of which many systems grant 1024 until a process asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    raise TooManyConnections(
        "Too many connections are open.",
        hint="The limit is server.limits.connections in the profile.",
    )


class PatientConnection(H11Protocol):
    """Closes when a head takes longer than `head_timeout_s`, or when nothing could be written for
    `write_stall_s`; the latter ends the request as any disconnect does. Where a listener has
    `most_connections` already, further ones are refused."""

    head_timeout_s = HEAD_TIMEOUT_S
    write_stall_s = WRITE_STALL_S
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def __init__(
        self, *arguments: Any, most_connections: Callable[[], float] = lambda: math.inf, **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self._most_connections = most_connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        surplus = len(self.connections) - self._most_connections()
        if surplus > MOST_REFUSED:
            transport.abort()
        elif surplus > 0:
            # Its request is read first: a client that still writes would not see the answer.
            self.app = Boundary(_refuse)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_head_timer()
        self._stop_stall_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self.write_stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_stall_timer()

    def send_400_response(self, msg: str) -> None:
        """What h11 cannot read, a head over the limit included, in the envelope of all errors."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        content = to_json(ErrorBody(msg, "invalid_request_error", None, "invalid_http"))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", f"req_{secrets.token_hex(8)}".encode()),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """Never, and without uvicorn's advice on what to install: the door answers such a wish."""
        return False

    def _watch_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_head_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_timeout_s, self.transport.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
