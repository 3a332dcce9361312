"""The outermost layer: gives each request an id and turns every exception into an answer.

It knows the error table and no route. Headers that inner layers add to `extra_headers` reach
every answer, refusals included.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmrun.api.envelope import OPENAI, Envelope
from lmrun.api.errors import (
    ErrorBody,
    Headers,
    ServerStopping,
    internal_error,
    to_body,
    to_headers,
)
from lmrun.api.http.record import current_record
from lmrun.errors import LmrunError

log = logging.getLogger("lmrun.api")

_REQUEST_ID = "lmrun.request_id"
_EXTRA_HEADERS = "lmrun.extra_headers"
_ENVELOPE = "lmrun.envelope"

_GOOD_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

DISCARD_S = 2.0
DISCARD_BYTES = 64 * 2**20
"""How long, and how much of, a refused body is still read: twice the usual limit of bodies."""


class ClientGone(Exception):
    """The client left while its body was read: nobody is there to answer."""


def find_request_id(scope: Scope) -> str | None:
    """The id that the client gave its request, if it is one that can go anywhere."""
    ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
    is_good = len(ids) == 1 and _GOOD_ID.fullmatch(ids[0])
    return ids[0].decode() if is_good else None


def request_id(scope: Scope) -> str:
    return cast(str, scope[_REQUEST_ID])


def extra_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    return cast("list[tuple[bytes, bytes]]", scope[_EXTRA_HEADERS])


def envelope_of(scope: Scope) -> Envelope:
    """How errors of this request are written."""
    return cast(Envelope, scope[_ENVELOPE])


class Boundary:
    """Around everything of one listener. `find_envelope`: how errors on a path are written, known
    before any route is chosen."""

    def __init__(
        self, app: ASGIApp, find_envelope: Callable[[str], Envelope] = lambda path: OPENAI
    ) -> None:
        self._app = app
        self._find_envelope = find_envelope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        envelope = self._find_envelope(scope["path"])
        exchange = _Exchange(scope, receive, send, envelope)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            return
        except asyncio.CancelledError:
            # Of a client that left, nothing comes as far as this: the server ends, and does not
            # wait any longer. There is nobody above who would have to hear of it.
            await exchange.fail(ServerStopping("The server is stopping; ask it again later."))
        except LmrunError as error:
            await exchange.fail(error)
        except Exception:  # The outermost boundary: whatever it is, the client gets an answer.
            log.exception("request %s failed", exchange.id)
            await exchange.refuse(500, internal_error(exchange.id), ())


class _Exchange:
    """One request's way in and out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, envelope: Envelope) -> None:
        self.id = find_request_id(scope) or f"req_{secrets.token_hex(8)}"
        self._scope = scope
        self._receive = receive
        self._send = send
        self._envelope = envelope
        self._is_read = False
        self._has_started = False
        scope[_REQUEST_ID] = self.id
        record = current_record()
        if record is not None:
            record.request_id = self.id
        scope[_ENVELOPE] = envelope
        scope[_EXTRA_HEADERS] = [
            (b"x-request-id", self.id.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        if envelope.id_header is not None:
            extra_headers(scope).append((envelope.id_header.encode(), self.id.encode()))

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._is_read = True
        return message

    async def send(self, message: Message) -> None:
        if not self._has_started:
            self._has_started = True
            headers = [*message.get("headers", ()), *extra_headers(self._scope)]
            message = {**message, "headers": headers}
        await self._send(message)

    async def fail(self, error: LmrunError) -> None:
        """`refuse`, as the error says."""
        await self.refuse(self._envelope.to_status(type(error)), to_body(error), to_headers(error))

    async def refuse(self, status: int, body: ErrorBody, headers: Headers) -> None:
        """Answer with an error, or leave the answer cut short if it has begun already."""
        if self._has_started:
            return
        prefix = "http"
        if self._scope["type"] == "websocket":
            if "websocket.http.response" not in self._scope.get("extensions", {}):
                self._has_started = True
                await self._send({"type": "websocket.close", "code": 4000 + status})
                return
            prefix = "websocket.http"
        content = self._envelope.write(body, status, self.id)
        head = (
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        )
        start = {"type": f"{prefix}.response.start", "status": status, "headers": [*head, *headers]}
        await self.send(start)
        body_type = f"{prefix}.response.body"
        if prefix == "http" and not self._is_read:
            await self.send({"type": body_type, "body": content, "more_body": True})
            await self._discard_body()
            content = b""
        await self.send({"type": body_type, "body": content})

    async def _discard_body(self) -> None:
        """Read on for a while after the answer: many clients look for one only after their body,
        and a connection that ends on unread bytes takes the answer away from them."""
        size_bytes = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_S):
                while not self._is_read and size_bytes <= DISCARD_BYTES:
                    size_bytes += len((await self.receive()).get("body", b""))
