"""`/metrics` and the log stream as answers. It knows no counter and nobody who logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from lmrun.api.routes import Call, Handler
from lmrun.api.sse import open_stream, to_event
from lmrun.api.telemetry import events
from lmrun.api.telemetry.events import SOURCES, Source
from lmrun.api.telemetry.feed import KEPT_LINES, Feed, FeedClosed
from lmrun.api.telemetry.metrics import CONTENT_TYPE, Metrics
from lmrun.errors import InvalidParameter

HEARTBEAT_S = 15.0

_encode = msgspec.json.Encoder().encode


class TextAnswer:
    """A text of the type `content_type`."""

    def __init__(self, content: bytes, content_type: str) -> None:
        self._content = content
        self._content_type = content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", self._content_type.encode()),
            (b"content-length", str(len(self._content)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._content})


def make_metrics_handler(metrics: Metrics) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        return TextAnswer(metrics.render(), CONTENT_TYPE)

    return answer


def make_logs_handler(feed: Feed) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        return await open_stream(_listen(feed, parse_sources(call.query), parse_last(call.query)))

    return answer


def parse_sources(query: Mapping[str, str]) -> frozenset[Source]:
    """`source=model,server`; both if it is left out. Raises InvalidParameter."""
    given = query.get("source", ",".join(SOURCES)).split(",")
    known = frozenset(source for source in SOURCES if source in given)
    if len(known) != len(set(given)):
        raise InvalidParameter(
            f"`source`: {query['source'][:80]!r} is none.",
            param="source",
            hint="It is `server`, `model` or `server,model`.",
        )
    return known


def parse_last(query: Mapping[str, str]) -> int:
    """`last=100`: earlier lines of the server's log to begin with. Raises InvalidParameter."""
    text = query.get("last", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 5 and int(text) <= KEPT_LINES):
        raise InvalidParameter(
            f"`last`: {text[:80]!r} is no number from 0 to {KEPT_LINES}.", param="last"
        )
    return int(text)


async def _listen(feed: Feed, sources: frozenset[Source], last: int) -> AsyncGenerator[bytes, None]:
    with feed.listening(sources, last) as listener:
        # Whoever has the headers knows that nothing is missed from now on.
        yield b": listening\n\n"
        while True:
            try:
                event: events.LogEvent | None = await listener.next(HEARTBEAT_S)
            except FeedClosed:
                return
            yield b": still listening\n\n" if event is None else to_event(_encode(event))
