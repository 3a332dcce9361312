"""Requests over raw HTTP, all at once, the bytes kept with the time they came.

A client library would cost more than what is measured, and so would reading while measuring.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from benchmarks.answers import Answer, Arrival, read_answer

TIMEOUT_S = 300.0


class _Recorder(asyncio.Protocol):
    """Keeps what comes until the other side closes."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.arrivals.append((time.perf_counter(), data))

    def connection_lost(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


async def post(address: str, path: str, body: Mapping[str, Any]) -> Answer:
    """Send one request and read its stream to the end. Raises Refused for an error."""
    url = urlsplit(address)
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    assert url.hostname and url.port
    loop = asyncio.get_running_loop()
    transport, recorder = await loop.create_connection(_Recorder, url.hostname, url.port)
    sent_at = time.perf_counter()
    transport.write(head.encode() + content)
    try:
        await asyncio.wait_for(recorder.ended, TIMEOUT_S)
    finally:
        transport.close()
    return read_answer(sent_at, [(at - sent_at, data) for at, data in recorder.arrivals])
