"""Requests over raw HTTP, all at once, the bytes kept with the time they came.

A client library would cost more than what is measured, and so would reading while measuring: who
sent several requests reads none before all have ended.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.answers import Answer, Arrival, read_answer

TIMEOUT_S = 300.0


_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Recording:
    """The bytes of one answer. `sent_at`: when the request was, on `time.perf_counter`'s clock."""

    sent_at: float
    arrivals: tuple[Arrival, ...]

    def read(self) -> Answer:
        """What they say. Raises Refused for an error."""
        return read_answer(self.sent_at, self.arrivals)


class _Recorder(asyncio.Protocol):
    """Keeps what comes of one answer after the other: until its last chunk, or until the other
    side closes."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """The next answer."""
        self.arrivals: list[Arrival] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.arrivals.append((time.perf_counter(), data))
        if data.endswith(_LAST_CHUNK) and not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class Connection:
    """One connection for several requests, one after the other, as clients keep it."""

    def __init__(self, address: str) -> None:
        self._url = urlsplit(address)
        self._recorder: _Recorder | None = None

    async def __aenter__(self) -> Connection:
        assert self._url.hostname and self._url.port
        loop = asyncio.get_running_loop()
        self._transport, self._recorder = await loop.create_connection(
            _Recorder, self._url.hostname, self._url.port
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    async def post(self, path: str, body: Mapping[str, Any], *, is_last: bool = False) -> Recording:
        """Send one request and keep its answer to the end."""
        recorder = self._recorder
        assert recorder is not None
        recorder.begin()
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._url.netloc}\r\n"
            f"Connection: {'close' if is_last else 'keep-alive'}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        sent_at = time.perf_counter()
        self._transport.write(head.encode() + content)
        await asyncio.wait_for(recorder.ended, TIMEOUT_S)
        return Recording(sent_at, tuple((at - sent_at, data) for at, data in recorder.arrivals))


async def post(address: str, path: str, body: Mapping[str, Any]) -> Recording:
    """One request on a connection of its own."""
    async with Connection(address) as connection:
        return await connection.post(path, body, is_last=True)
