"""A real HTTP server in a thread, and a client that sends exactly the bytes it is given."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from lmrun.api.listener import make_server, open_sockets


@dataclass(frozen=True)
class Reply:
    """An answer as it came. Header names are in lower case."""

    status: int
    headers: dict[str, list[str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> Any:
        """`error.code`, which Anthropic's envelope has among its details, JSON-RPC's in its
        data."""
        error = self.json["error"]
        if "data" in error:
            return error["data"]["code"]
        return error["details"]["error_code"] if "details" in error else error["code"]

    def header(self, name: str) -> str | None:
        values = self.headers.get(name, [])
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None


class Port:
    """Where a server answers."""

    def __init__(self, number: int) -> None:
        self.number = number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.number}"

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", self.number))
        return sock

    def send(self, data: bytes) -> Reply:
        """Send `data` on a connection of its own; the one answer."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_reply(sock, has_body=not data.startswith(b"HEAD "))

    def ask(
        self, method: str, path: str, body: Any = None, *, host: str | None = None, **headers: str
    ) -> Reply:
        """One request. `headers`: their names with `_` for `-`; `body` is sent as JSON."""
        content = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.number}'}"]
        if method not in ("GET", "HEAD", "OPTIONS"):
            headers = {"content_type": "application/json", **headers}
            head.append(f"Content-Length: {len(content)}")
        head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return self.send("\r\n".join([*head, "", ""]).encode("latin-1") + content)


def read_reply(sock: socket.socket, *, has_body: bool = True) -> Reply:
    """Read one whole answer, by its length, its chunks, or until the connection ends."""
    stream = sock.makefile("rb")
    status = int(stream.readline().split()[1])
    headers: dict[str, list[str]] = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    if not has_body or status == 204:
        body = b""
    elif "content-length" in headers:
        body = stream.read(int(headers["content-length"][0]))
    elif headers.get("transfer-encoding") == ["chunked"]:
        body = b"".join(_read_chunks(stream))
    else:
        body = stream.read()
    return Reply(status, headers, body)


def _read_chunks(stream: Any) -> Iterator[bytes]:
    while size := int(stream.readline(), 16):
        yield stream.read(size)
        stream.readline()
    stream.readline()


@contextmanager
def listening(make_app: Callable[[], AbstractAsyncContextManager[ASGIApp]]) -> Iterator[Port]:
    """Serve an app, made inside the server's own loop, as lmrun itself serves it."""
    (bound,) = open_sockets("127.0.0.1", 0)
    port = Port(bound.getsockname()[1])
    failures: list[BaseException] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with make_app() as app:
            server = make_server(app)
            serving = asyncio.create_task(server.serve(sockets=[bound]))
            while not server.started:
                await asyncio.sleep(0.002)
            started.set()
            while not stop.is_set():
                await asyncio.sleep(0.02)
            server.force_exit = True
            server.end()
            await serving

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # Reported in the test's own thread.
            failures.append(error)
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(60)
    try:
        if not failures:
            yield port
    finally:
        stop.set()
        thread.join(30)
    if failures:
        raise failures[0]


def serving_app(app: ASGIApp) -> Callable[[], AbstractAsyncContextManager[ASGIApp]]:
    """An app that needs nothing around it, for `listening`."""

    @asynccontextmanager
    async def make() -> AsyncIterator[ASGIApp]:
        yield app

    return make


def wait_until(is_true: Callable[[], bool], *, within_s: float = 5.0) -> float:
    """Seconds until `is_true()`. Fails the test when it does not become true in time."""
    start = time.monotonic()
    while not is_true():
        assert time.monotonic() < start + within_s, f"not within {within_s} s"
        time.sleep(0.002)
    return time.monotonic() - start
