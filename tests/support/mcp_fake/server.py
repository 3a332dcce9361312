"""The server that behaves, and what sets off a misbehaviour."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ANYTHING = {"type": "object"}


def tool(name: str, description: str = "A tool.", schema: Json = ANYTHING, **more: Any) -> Json:
    return {"name": name, "description": description, "inputSchema": schema, **more}


class Server:
    def __init__(self) -> None:
        self.version = "2025-06-18"
        self.tools = [tool("echo", "Says it again.", TEXT), tool("poke")]
        self.capabilities: Json = {"tools": {"listChanged": True}, "logging": {}}
        self.on_poke: Callable[[Any, Json], None] = lambda id, params: self.text(id, "poked")
        self.on_list: Callable[[Any, Json], Json] | None = None
        self.methods: dict[str, Callable[[Any, Json], None]] = {
            "initialize": self.initialize,
            "ping": lambda id, params: self.result(id, {}),
            "tools/list": self.list_tools,
            "tools/call": self.call,
            "notifications/cancelled": lambda _, it: self.cancelled.append(it["requestId"]),
        }
        self.cancelled: list[Any] = []
        self.answers: list[Json] = []
        self.client: Json = {}
        self.wait_for: dict[Any, Callable[[Json], None]] = {}
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]

    def send(self, message: Any) -> None:
        self.write(json.dumps(message).encode() + b"\n")

    def result(self, id: Any, result: Any) -> None:
        self.send({"jsonrpc": "2.0", "id": id, "result": result})

    def text(self, id: Any, text: str) -> None:
        self.result(id, {"content": [{"type": "text", "text": text}]})

    def error(self, id: Any, error: Any) -> None:
        self.send({"jsonrpc": "2.0", "id": id, "error": error})

    def notify(self, method: str, params: Json | None = None) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params or {}})

    def request(self, id: Any, method: str, params: Json, then: Callable[[Json], None]) -> None:
        self.wait_for[id] = then
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    def run(self) -> None:
        for line in sys.stdin.buffer:
            self.take(json.loads(line))

    def take(self, message: Json) -> None:
        method, id, params = message.get("method"), message.get("id"), message.get("params", {})
        if method is None:
            self.answers.append(message)
            then = self.wait_for.pop(id, None)
            if then is not None:
                then(message)
        elif method in self.methods:
            self.methods[method](id, params)
        elif id is not None:
            self.error(id, {"code": -32601, "message": f"no method {method}"})

    def list_tools(self, id: Any, params: Json) -> None:
        self.result(id, {"tools": self.tools} if self.on_list is None else self.on_list(id, params))

    def initialize(self, id: Any, params: Json) -> None:
        self.client = params
        info = {"name": "fake", "version": "1"}
        self.result(
            id,
            {
                "protocolVersion": self.version,
                "capabilities": self.capabilities,
                "serverInfo": info,
            },
        )

    def call(self, id: Any, params: Json) -> None:
        arguments = params.get("arguments", {})
        if params["name"] == "poke":
            self.on_poke(id, params)
        elif params["name"] == "seen":
            seen = {
                "cancelled": self.cancelled,
                "environment": dict(os.environ),
                "directory": os.getcwd(),
                "client": self.client,
                "pid": os.getpid(),
            }
            self.text(id, json.dumps(seen))
        else:
            self.text(id, arguments.get("text", ""))


server = Server()
BEHAVIOURS: dict[str, Callable[[], None]] = {}


def behaviour(prepare: Callable[[], None]) -> Callable[[], None]:
    BEHAVIOURS[prepare.__name__] = prepare
    return prepare


def poked(action: Callable[[Any, Json], None]) -> Callable[[Any, Json], None]:
    """A misbehaviour that begins with a call of `poke`."""

    def prepare() -> None:
        server.on_poke = action

    BEHAVIOURS[action.__name__] = prepare
    return action


def raw(id: Any, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%s}\n' % (id, result)


def show(answer: Json) -> str:
    return json.dumps(answer.get("result") or answer.get("error"))
