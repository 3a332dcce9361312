"""Servers elsewhere: over streamable HTTP and SSE, real ones and ones that misbehave."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from tests.support.server import free_port
from tests.tools.mcp.support import call, declare, hosting, run

SDK_SERVER = Path(__file__).parents[2] / "support" / "mcp_sdk_server.py"

Json = dict[str, Any]


reached: list[Any] = []
"""Addresses that somebody has connected to."""


def _note_connection(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and arguments[0].family == socket.AF_INET:
        reached.append(arguments[1])


sys.addaudithook(_note_connection)


@contextmanager
def sdk_server(transport: str) -> Iterator[str]:
    """A real server on a port; its URL."""
    port = free_port()
    program = [sys.executable, "-I", str(SDK_SERVER), transport, str(port)]
    with subprocess.Popen(program) as process:
        try:
            yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
        finally:
            process.kill()


def remote(url: str, **fields: Any) -> McpServerConfig:
    given = {"url": url, "tools": {"allow": ["*"]}, "timeout": "5s", "start_timeout": "5s"}
    return McpServerConfig.model_validate({**given, **fields})


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
def test_a_real_server_is_of_use(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def agree(question: Elicitation) -> Elicited:
        return Elicited("accept", {"size": 38})

    async def body(url: str) -> None:
        config = remote(
            url,
            transport="sse" if transport == "sse" else "streamable_http",
            headers={"Authorization": "Bearer its-own"},
            start_timeout="20s",
            elicitation=True,
            resources=True,
            prompts=True,
        )
        async with hosting({"s": config, "other": declare()}, elicit=agree) as host:
            await host.definitions("other")
            await _when_up(lambda: host.definitions("s"))
            added = await call(host, "s", "add", first=1, second=2)
            headers = json.loads((await call(host, "s", "headers")).text)
            ordered = await call(host, "s", "order", item="shoes")

            assert json.loads(added.text) == {"sum": 3}
            assert headers["authorization"] == "Bearer its-own"
            assert not {"cookie", "referer"} & set(headers)
            assert ordered.text == "shoes in size 38"
            assert await host.read_resource("s", "note://hello") == "Hello from a note."
            (greeting,) = await host.get_prompt("s", "greet", {"name": "Ada"})
            assert greeting.content == "Greet Ada."
            status = host.statuses()["s"]
            assert (status.state, status.pid) == ("ready", None)
            session = headers.get("mcp-session-id")
            assert session is None or session not in caplog.text

    with sdk_server(transport) as url:
        run(body(url))


def test_one_that_goes_away_is_unreachable_and_comes_back() -> None:
    async def body() -> None:
        with FakeRemote() as fake:
            async with hosting({"s": remote(fake.url)}) as host:
                assert (await call(host, "s", "echo", text="one")).text == "one"
                fake.answers["tools/call"] = _hang_up
                gone = await call(host, "s", "echo", text="two")
                del fake.answers["tools/call"]

                assert gone.error == "unreachable", gone
                assert (await call(host, "s", "echo", text="three")).text == "three"

    run(body())


def test_a_session_that_is_forgotten_is_begun_anew() -> None:
    async def body() -> None:
        with FakeRemote() as fake:
            async with hosting({"s": remote(fake.url)}) as host:
                await call(host, "s", "echo", text="one")
                fake.sessions.clear()

                assert (await call(host, "s", "echo", text="two")).text == "two"
                assert (len(fake.sessions), host.statuses()["s"].restarts) == (1, 1)

    run(body())


def test_a_session_that_is_forgotten_before_a_resource_is_read_is_begun_anew() -> None:
    def read(handler: Handler, message: Json) -> None:
        if handler.headers["Mcp-Session-Id"] not in handler.remote.sessions:
            handler.reply(404, b"", {})
            return
        contents = [{"uri": message["params"]["uri"], "text": "It rains."}]
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"contents": contents}}
        handler.reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    async def body() -> None:
        with FakeRemote() as fake:
            fake.answers["resources/read"] = read
            async with hosting({"s": remote(fake.url, resources=True)}) as host:
                assert await host.read_resource("s", "note://a") == "It rains."
                fake.sessions.clear()
                assert await host.read_resource("s", "note://a") == "It rains."
                assert host.statuses()["s"].restarts == 1

    run(body())


def test_one_that_asks_for_a_login_says_so() -> None:
    async def body() -> None:
        with FakeRemote() as fake:
            for method in ("server/discover", "initialize"):
                fake.answers[method] = lambda handler, message: handler.reply(401, b"", {})
            async with hosting({"s": remote(fake.url)}) as host:
                assert list(await host.tools("s")) == []
                error = host.statuses()["s"].error or ""

                assert "HTTP status 401" in error
                assert "oauth" in error

    run(body())


def _redirect(to: str) -> Callable[[Handler, Json], None]:
    def answer(handler: Handler, message: Json) -> None:
        handler.reply(307, b"", {"Location": to})

    return answer


def _bomb(handler: Handler, message: Json) -> None:
    handler.begin(200, {"Content-Type": "application/json"})
    try:
        for _ in range(64):
            handler.wfile.write(b"[" + b"0," * 500_000)
    except OSError:
        pass


def _long_event(handler: Handler, message: Json) -> None:
    handler.begin(200, {"Content-Type": "text/event-stream"})
    try:
        handler.wfile.write(b"data: ")
        for _ in range(64):
            handler.wfile.write(b"0" * 1_000_000)
    except OSError:
        pass


def _hang_up(handler: Handler, message: Json) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def _silent(handler: Handler, message: Json) -> None:
    time.sleep(2)


def _deep(handler: Handler, message: Json) -> None:
    inner = '{"a":' * 80 + "1" + "}" * 80
    text = f'{{"jsonrpc":"2.0","id":{message["id"]},"result":{{"content":[],"_meta":{inner}}}}}'
    handler.reply(200, text.encode(), {"Content-Type": "application/json"})


def _plain(body: bytes, kind: str = "application/json") -> Callable[[Handler, Json], None]:
    return lambda handler, message: handler.reply(200, body, {"Content-Type": kind})


MISBEHAVIOURS: dict[str, tuple[Callable[[Handler, Json], None], set[str]]] = {
    "redirect to a private address": (_redirect("http://10.0.0.1/mcp"), {"failed"}),
    "redirect to metadata": (_redirect("http://169.254.169.254/latest"), {"failed"}),
    "redirect in a circle": (_redirect("/mcp"), {"failed"}),
    "body without end": (_bomb, {"unreachable", "too_large"}),
    "event without end": (_long_event, {"failed", "protocol", "too_large", "unreachable"}),
    "silence": (_silent, {"timeout"}),
    "deep JSON": (_deep, {"protocol"}),
    "no JSON": (_plain(b"<html>"), {"failed", "protocol"}),
    "no JSON at all": (_plain(b"<html>", "text/html"), {"failed", "protocol"}),
    "nothing": (_plain(b""), {"failed", "protocol"}),
    "accepted": (lambda handler, message: handler.reply(202, b"", {}), {"failed"}),
    "server error": (lambda handler, message: handler.reply(500, b"", {}), {"failed"}),
}


@pytest.mark.parametrize("kind", MISBEHAVIOURS)
def test_a_call_has_a_result_in_time(kind: str) -> None:
    answer, errors = MISBEHAVIOURS[kind]

    async def body() -> None:
        with FakeRemote() as fake:
            config = remote(fake.url, timeout="1s" if kind == "silence" else "8s")
            async with hosting({"bad": config, "good": declare()}) as host:
                await call(host, "bad", "echo", text="fine")
                fake.answers["tools/call"] = answer
                reached.clear()
                began = time.monotonic()
                bad, good = await asyncio.gather(
                    call(host, "bad", "echo", text="?"), call(host, "good", "echo", text="fine")
                )

                assert bad.error in errors, bad
                assert good.text == "fine"
                assert time.monotonic() - began < 6
                assert {it[0] for it in reached} == {"127.0.0.1"}

    run(body())


@pytest.mark.parametrize(
    ("url", "fields", "error"),
    [
        ("http://example.com/mcp", {}, "http is for this machine alone"),
        ("https://10.0.0.1/mcp", {}, "no public address"),
        ("https://169.254.169.254/mcp", {"private": True}, "no public address"),
        ("https://user:secret@example.com/", {}, "user name"),
        ("http://127.0.0.1:9/mcp", {}, "cannot be reached"),
    ],
)
def test_what_may_not_or_cannot_be_reached_is_not(
    url: str, fields: dict[str, Any], error: str
) -> None:
    async def body() -> None:
        async with hosting({"s": remote(url, **fields)}) as host:
            assert list(await host.tools("s")) == []
            status = host.statuses()["s"]

            assert status.error is not None and error in status.error
            assert "secret" not in status.error

    run(body())


@pytest.mark.parametrize("endpoint", ["http://10.0.0.1/messages", "https://127.0.0.1/messages"])
def test_an_sse_server_cannot_send_messages_elsewhere(endpoint: str) -> None:
    async def body() -> None:
        with FakeRemote() as fake:
            fake.endpoint = endpoint
            config = remote(fake.url, transport="sse", start_timeout="1s")
            async with hosting({"s": config, "good": declare()}) as host:
                tools, good = await asyncio.gather(host.tools("s"), host.tools("good"))

                assert (list(tools), len(good)) == ([], 3)

    run(body())


async def _when_up(look: Callable[[], Any]) -> None:
    """A program needs a moment until it listens."""
    for _ in range(100):
        try:
            await look()
        except Exception:
            await asyncio.sleep(0.1)
        else:
            return
    await look()


class FakeRemote:
    """A server over streamable HTTP that answers with JSON; `answers`: what it does instead."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[Handler, Json], None]] = {}
        self.sessions: set[str] = set()
        self.endpoint = ""
        fake = self

        class Bound(Handler):
            remote = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/mcp"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> FakeRemote:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    remote: FakeRemote

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.begin(status, {**headers, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def do_GET(self) -> None:
        if not self.remote.endpoint:
            self.reply(405, b"", {})
            return
        self.begin(200, {"Content-Type": "text/event-stream"})
        self.wfile.write(f"event: endpoint\ndata: {self.remote.endpoint}\n\n".encode())
        self.wfile.flush()
        time.sleep(2)

    def do_DELETE(self) -> None:
        self.reply(200, b"", {})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        message: Json = json.loads(self.rfile.read(length))
        method, session = message.get("method", ""), self.headers.get("Mcp-Session-Id")
        headers = {"Content-Type": "application/json"}
        if method in self.remote.answers:
            self.remote.answers[method](self, message)
        elif method == "server/discover":
            self.reply(404, b"", {})
        elif method == "initialize":
            session = f"session-{len(self.remote.sessions)}"
            self.remote.sessions.add(session)
            headers["Mcp-Session-Id"] = session
            self._result(message, _INITIALIZED, headers)
        elif session not in self.remote.sessions:
            self.reply(404, b"", {})
        elif method == "tools/list":
            tool = {"name": "echo", "inputSchema": {"type": "object"}}
            self._result(message, {"tools": [tool]}, headers)
        elif method == "tools/call":
            text = message["params"]["arguments"]["text"]
            self._result(message, {"content": [{"type": "text", "text": text}]}, headers)
        else:
            self.reply(202, b"", {})

    def _result(self, message: Json, result: Json, headers: dict[str, str]) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        self.reply(200, body, headers)


_INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "fake", "version": "1"},
}
