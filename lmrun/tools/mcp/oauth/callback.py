"""Where a browser comes back to after somebody has logged in: a port of this machine, open for one
login. It knows what it waits for, and answers everything else with nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from lmrun.errors import McpLoginFailed

HOST = "127.0.0.1"
PATH = "/callback"

_MAX_HEAD_BYTES = 16 * 2**10
_HEAD_S = 10.0
_PAGE = (
    b"<!doctype html><meta charset=utf-8><title>lmrun</title>"
    b"<p>lmrun has its answer. This page can be closed."
)


@dataclass(frozen=True, slots=True)
class Return:
    """What the browser brought back. Either `code` or `error`."""

    code: str | None
    error: str | None
    iss: str | None


class Callback:
    """`url`: where the browser is sent to. Only what carries `state` is taken for its coming."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._returned: asyncio.Future[Return] = asyncio.get_running_loop().create_future()
        self.url = ""

    async def wait(self, within_s: float) -> Return:
        """Raises McpLoginFailed when nobody comes in time."""
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(self._returned)
        except TimeoutError:
            raise McpLoginFailed(f"Nobody logged in within {within_s:g} s.") from None

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_HEAD_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    returned = self._read(head)
                    writer.write(_respond(is_good=returned is not None))
                    await writer.drain()
                if returned is not None and not self._returned.done():
                    self._returned.set_result(returned)
        finally:
            writer.close()

    def _read(self, head: bytes) -> Return | None:
        """None for what is not the browser's coming back."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        # Another name for this address would be a page that wants to read the answer.
        is_ours = headers.get("host") == urlsplit(self.url).netloc
        parts = urlsplit(target)
        if method != "GET" or parts.path != PATH or not is_ours:
            return None
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        values = dict(pairs)
        if len(values) != len(pairs):
            return None
        if not secrets.compare_digest(values.get("state", "").encode(), self._state.encode()):
            return None
        code, error = values.get("code"), values.get("error")
        if (code is None) == (error is None):
            return None
        return Return(code, error, values.get("iss"))


@asynccontextmanager
async def open_callback(state: str) -> AsyncIterator[Callback]:
    """A port that only waits for `state`; closed with the block."""
    callback = Callback(state)
    server = await asyncio.start_server(callback.answer, HOST, 0, limit=_MAX_HEAD_BYTES)
    port = server.sockets[0].getsockname()[1]
    callback.url = f"http://{HOST}:{port}{PATH}"
    try:
        yield callback
    finally:
        server.close()
        await server.wait_closed()


def _respond(*, is_good: bool) -> bytes:
    status, body = (b"200 OK", _PAGE) if is_good else (b"400 Bad Request", b"")
    return (
        b"HTTP/1.1 " + status + b"\r\n"
        b"Content-Type: text/html; charset=utf-8\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n"
        b"Content-Security-Policy: default-src 'none'\r\n"
        b"Referrer-Policy: no-referrer\r\n"
        b"Cache-Control: no-store\r\n"
        b"Connection: close\r\n\r\n" + body
    )
