"""A server that only plays one: real HTTP and SSE on a real socket and port, scripted answers.

For tests of the command line, where what matters is what is asked and what is shown.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from lmrun.reconcile.outcome import ApplyEnded, ApplyEvent, Plan, Planned
from lmrun.reconcile.status import (
    Condition,
    InstanceState,
    InstanceStatus,
    ModelStatus,
    ProfileStatus,
    ServerStatus,
    Status,
)
from lmrun.store.home import Home
from lmrun.tools.act.events import ApprovalNeeded

SINCE = "2026-11-23T10:00:00.000+00:00"
EMPTY_PLAN = Plan(base_generation=3, actions=())


def instance(
    identifier: str = "assistant", state: InstanceState = "ready", **changes: Any
) -> InstanceStatus:
    """An instance of a model, ready unless said otherwise."""
    plain = InstanceStatus(
        identifier=identifier,
        state=state,
        engine="scripted",
        pid=4711,
        threads=1,
        context_length=2048,
        active=0,
        waiting=0,
        restarts=0,
        progress=None,
        error=None,
    )
    return msgspec.structs.replace(plain, **changes)


def condition(type_: str, status: Any = "True", reason: str = "", message: str = "") -> Condition:
    """A condition; its reason is its type unless said otherwise."""
    return Condition(type_, status, reason or type_, message, SINCE)


def model(key: str = "smollm2", *instances: InstanceStatus, **changes: Any) -> ModelStatus:
    """A declared model that is available and ready."""
    plain = ModelStatus(
        key=key,
        source="file:m.gguf",
        state="loaded",
        conditions=(condition("Available"), condition("Ready")),
        instances=instances,
    )
    return msgspec.structs.replace(plain, **changes)


def status(*models: ModelStatus, address: str | None = None, **changes: Any) -> Status:
    """A server with an applied profile, converged."""
    plain = Status(
        server=ServerStatus(address, pid=4242, version="0.1.0", home="/home", started=SINCE),
        profile=ProfileStatus(("/profiles/p.yaml",), 3, 3, watching=False),
        conditions=(condition("Converged"),),
        models=models,
    )
    return msgspec.structs.replace(plain, **changes)


def refusal(message: str, **more: object) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


@dataclass
class FakeServer:
    """What it answers with, and what it was asked. `chat`: the text's pieces, or an error body."""

    home: Home
    status: Status = field(default_factory=status)
    plan: Plan = EMPTY_PLAN
    plan_refusal: tuple[int, dict[str, Any]] | None = None
    events: list[ApplyEvent | dict[str, Any]] | None = None
    logs: list[dict[str, Any]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    run: list[Any] = field(default_factory=list)
    """The events of a run that is begun or resumed; what can be called is, in between."""
    was_approved: threading.Event = field(default_factory=threading.Event)
    chat: list[str] | tuple[int, dict[str, Any]] = field(default_factory=list)
    chat_end: bytes = b"[DONE]"
    finish_reason: str = "stop"
    answers: dict[str, Any] = field(default_factory=dict)
    """Further ones, by path."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    stall_after: int | None = None
    """Pieces after which an answer stops to come, until the client leaves."""
    stalled: threading.Event = field(default_factory=threading.Event)
    client_left: threading.Event = field(default_factory=threading.Event)
    on_down: Callable[[], object] = lambda: None

    def bodies(self, path: str) -> list[Any]:
        return [body for _, asked, body in self.asked if asked == path]

    def answer_apply(self) -> list[ApplyEvent | dict[str, Any]]:
        if self.events is not None:
            return self.events
        address = self.status.server.address
        return [Planned(self.plan, 3), ApplyEnded(converged=True, generation=3, address=address)]


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._answer(json.loads(self.rfile.read(length) or b"null"))
        if self.path.endswith("/approve"):
            self.fake.was_approved.set()

    def _answer(self, body: Any) -> None:
        fake = self.fake
        fake.asked.append((self.command, self.path, body))
        fake.headers.append(dict(self.headers))
        if self.path == "/lmrun/v1/status":
            self._send(200, fake.status)
        elif self.path == "/lmrun/v1/plan":
            self._send(*(fake.plan_refusal or (200, fake.plan)))
        elif self.path == "/v1/models":
            self._send(200, {"data": [{"id": name} for name in fake.agents]})
        elif self.path.startswith("/lmrun/v1/act") and body is not None and body.get("stream"):
            self._stream(self._tell_run())
        elif self.path in fake.answers:
            self._send(200, fake.answers[self.path])
        elif self.path in ("/lmrun/v1/apply", "/lmrun/v1/rollback"):
            self._stream(msgspec.json.encode(event) for event in fake.answer_apply())
        elif self.path.startswith("/lmrun/v1/logs"):
            self._stream(msgspec.json.encode(event) for event in fake.logs)
        elif self.path == "/lmrun/v1/down":
            fake.on_down()
            self._send(200, {"unloaded": True})
        elif isinstance(fake.chat, tuple):
            self._send(*fake.chat)
        else:
            self._stream(self._chunks(fake.chat))

    def _tell_run(self) -> Iterator[bytes]:
        """As far as it comes: what asks about a call waits for the reply."""
        for event in self.fake.run:
            if callable(event):
                event()
                continue
            yield msgspec.json.encode(event)
            if isinstance(event, ApprovalNeeded):
                assert self.fake.was_approved.wait(20), "nobody has replied"

    def _chunks(self, pieces: list[str]) -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            if number == self.fake.stall_after:
                self._stall()
                return
            yield msgspec.json.encode({"choices": [{"delta": {"content": piece}}]})
        last = {"choices": [{"delta": {}, "finish_reason": self.fake.finish_reason}]}
        yield msgspec.json.encode(last)
        if self.fake.chat_end:
            yield self.fake.chat_end

    def _stall(self) -> None:
        self.fake.stalled.set()
        self.connection.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert self.connection.recv(1) == b"", "a client that waits says nothing"
        self.fake.client_left.set()

    def _send(self, code: int, value: Any) -> None:
        content = msgspec.json.encode(value)
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, documents: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for document in documents:
            event = b"data: " + document + b"\n\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        if not self.fake.client_left.is_set():
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = False


@contextmanager
def playing_server(root: Path) -> Iterator[FakeServer]:
    """A server at `root`'s control socket and on a free port, which its status names."""
    home = Home(root)
    home.ensure()
    fake = FakeServer(home)
    answers = type("Answers", (_Answers,), {"fake": fake})
    control = _UnixServer(str(home.control_socket), answers)
    port = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    address = f"http://127.0.0.1:{port.server_address[1]}"
    fake.status = status(model("smollm2", instance()), address=address)
    servers = (control, port)
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        for server in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield fake
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
        home.control_socket.unlink(missing_ok=True)
