"""The layer around all others that keeps a record of each request, and hands it on at its end.

It knows no route and no log.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmrun.api.http.record import MAX_PATH, Record, set_current

_STARTS = ("http.response.start", "websocket.http.response.start")
_BODIES = ("http.response.body", "websocket.http.response.body")


class Journal:
    """`on_end` is told of every request, answered or not, once nothing more will happen to it."""

    def __init__(self, app: ASGIApp, on_end: Callable[[Record], None]) -> None:
        self._app = app
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        record = _begin(scope)
        set_current(record)
        start = time.monotonic()

        async def watch(message: Message) -> None:
            if message["type"] in _STARTS:
                record.status = message["status"]
            elif message["type"] in _BODIES:
                record.is_whole = not message.get("more_body", False)
            elif message["type"] == "websocket.close":
                record.status, record.is_whole = message["code"] % 1000, True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            record.seconds = time.monotonic() - start
            self._on_end(record)


def _begin(scope: Scope) -> Record:
    raw = scope.get("raw_path") or scope["path"].encode("utf-8", "backslashreplace")
    return Record(
        method=scope.get("method", "WEBSOCKET")[:20],
        path=raw.decode("ascii", "backslashreplace")[:MAX_PATH],
        peer=(scope.get("client") or ("",))[0],
    )
