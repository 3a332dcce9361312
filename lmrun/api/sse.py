"""Answers as ASGI: a JSON document, or a stream of server-sent events. It knows no dialect."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from lmrun.api.errors import ErrorBody, ServerStopping, internal_error, to_body, to_json
from lmrun.api.http.boundary import request_id
from lmrun.api.http.deadline import deadline_of, in_time
from lmrun.api.http.disconnect import has_left
from lmrun.errors import LmrunError

log = logging.getLogger("lmrun.api")

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # nginx would hold events back.
    (b"x-accel-buffering", b"no"),
)


def to_event(data: bytes) -> bytes:
    """One event of a stream. `data` must be free of line breaks, as JSON is."""
    return b"data: " + data + b"\n\n"


def to_named_event(name: str, data: bytes) -> bytes:
    """One event of a stream whose kinds have names."""
    return b"event: " + name.encode() + b"\n" + to_event(data)


def show_failure(body: ErrorBody) -> bytes:
    """The event that says why a stream ends early, in the error envelope."""
    return to_event(to_json(body))


class JsonAnswer:
    """A value, or ready JSON as bytes, with its status."""

    def __init__(self, value: Any, status: int = 200) -> None:
        self._content = value if isinstance(value, bytes) else msgspec.json.encode(value)
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self._content)).encode()),
        ]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._content})


class EventStream:
    """Events as they come. A failure becomes the last event, as `show` writes it."""

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        show: Callable[[ErrorBody], bytes] = show_failure,
    ) -> None:
        self._first = first
        self._rest = rest
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest) as rest:
            headers = list(_STREAM_HEADERS)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            last = b""
            try:
                async with in_time(deadline_of(scope)):
                    async for chunk in rest:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except asyncio.CancelledError:
                if has_left():
                    raise
                last = self._show(to_body(ServerStopping("The server is stopping.")))
            except LmrunError as error:
                last = self._show(to_body(error))
            except Exception:  # The headers are out: this is the outermost boundary of a stream.
                log.exception("stream of request %s failed", request_id(scope))
                last = self._show(internal_error(request_id(scope)))
        # Only now: the server takes the end of an answer for a disconnect, and cancels.
        await send({"type": "http.response.body", "body": last})


async def open_stream(
    chunks: AsyncGenerator[bytes, None], show: Callable[[ErrorBody], bytes] = show_failure
) -> EventStream:
    """Wait for the first chunk, so that a failure before it is still a real status.

    `chunks` yields at least one; no header goes out before it. `show`: the event of a later one.
    """
    return EventStream(await anext(chunks), chunks, show)
