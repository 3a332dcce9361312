"""Answers as ASGI: a JSON document, or a stream of server-sent events. It knows no dialect."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from lmrun.api.errors import internal_error, to_body, to_json
from lmrun.api.http.boundary import request_id
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
    """Events as they come. A failure becomes the last event, in the error envelope."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest) as rest:
            headers = list(_STREAM_HEADERS)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            last = b""
            try:
                async for chunk in rest:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except LmrunError as error:
                last = to_event(to_json(to_body(error)))
            except Exception:  # The headers are out: this is the outermost boundary of a stream.
                log.exception("stream of request %s failed", request_id(scope))
                last = to_event(to_json(internal_error(request_id(scope))))
        # Only now: the server takes the end of an answer for a disconnect, and cancels.
        await send({"type": "http.response.body", "body": last})


async def open_stream(chunks: AsyncGenerator[bytes, None]) -> EventStream:
    """Wait for the first chunk, so that a failure before it is still a real status.

    `chunks` yields at least one; no header goes out before it.
    """
    return EventStream(await anext(chunks), chunks)
