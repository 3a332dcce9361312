"""A small MCP server that speaks raw JSON lines, and misbehaves as its argument says.

Run as a program, by its path: it imports nothing of lmrun and nothing of the protocol's library.
The tool `echo` always behaves; calling `poke` sets off the misbehaviour.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
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


def _raw(id: Any, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%s}\n' % (id, result)


@behaviour
def good() -> None:
    server.tools.append(tool("seen", "What it has seen."))


@poked
def bad_utf8(id: Any, params: Json) -> None:
    server.write(_raw(id, b'{"content":[{"type":"text","text":"\xff\xfe\x80"}]}'))


@poked
def noise(id: Any, params: Json) -> None:
    server.write(b"Starting up...\nDone! 100%\n\n\x00\x01\x02\n[1, 2\n42\nnull\n")
    server.text(id, "after the noise")


@poked
def long_line(id: Any, params: Json) -> None:
    server.write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % id)
    for _ in range(100):
        server.write(b"x" * 1_000_000)
    server.write(b'"}]}}\n')


@poked
def long_line_of_nothing(id: Any, params: Json) -> None:
    for _ in range(100):
        server.write(b"x" * 1_000_000)
    server.write(b"\n")
    server.text(id, "after the line")


@poked
def deep_json(id: Any, params: Json) -> None:
    server.write(_raw(id, b'{"content":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))


@poked
def somewhat_deep_json(id: Any, params: Json) -> None:
    inner = b'{"a":' * 300 + b"1" + b"}" * 300
    server.write(_raw(id, b'{"content":[],"structuredContent":' + inner + b"}"))


@poked
def unknown_id(id: Any, params: Json) -> None:
    server.text(987_654, "for somebody else")


@poked
def duplicate_id(id: Any, params: Json) -> None:
    server.text(id, "first")
    server.text(id, "second")


@poked
def exit_mid_call(id: Any, params: Json) -> None:
    os._exit(3)


@poked
def killed_mid_call(id: Any, params: Json) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@behaviour
def silence() -> None:
    server.tools.append(tool("seen"))
    server.on_poke = lambda id, params: None


@poked
def stderr_flood(id: Any, params: Json) -> None:
    line = b"error! " * 150_000
    for _ in range(1000):
        os.write(2, line)
    server.text(id, "after the flood")


@poked
def much_on_stderr(id: Any, params: Json) -> None:
    os.write(2, b"error! " * 150_000)
    os.write(2, b"the end of it")
    server.text(id, "after it")


@poked
def odd_messages(id: Any, params: Json) -> None:
    """Well formed as JSON-RPC goes, and nonsense as the protocol does."""
    chance = random.Random(7)
    methods = [
        "notifications/progress",
        "notifications/message",
        "notifications/cancelled",
        "notifications/resources/updated",
        "notifications/elicitation/complete",
        "notifications/subscriptions/acknowledged",
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "ping",
        "initialize",
        "tools/call",
        "",
        "\u0000",
    ]
    keys = ["_meta", "progressToken", "progress", "requestId", "uri", "level", "data", "messages"]

    def odd(depth: int) -> Any:
        if depth == 0 or chance.random() < 0.4:
            return chance.choice([None, True, 0, -1, 2**63, 1e308, "", "x", id, str(id), [], {}])
        if chance.random() < 0.5:
            return [odd(depth - 1) for _ in range(3)]
        return {chance.choice(keys): odd(depth - 1) for _ in range(4)}

    for number in range(1500):
        message = {"jsonrpc": "2.0", "method": chance.choice(methods), "params": odd(4)}
        if chance.random() < 0.5:
            message["id"] = chance.choice([number, f"o{number}", None, 1.5, -number, {}])
        server.send(message)
    server.text(id, "after all that")


@poked
def schema_change(id: Any, params: Json) -> None:
    server.tools[1] = tool("poke", "Another one.", TEXT)
    server.notify("notifications/tools/list_changed")
    server.text(id, "changed")


@poked
def tool_renamed(id: Any, params: Json) -> None:
    server.tools[1] = tool("prod")
    server.notify("notifications/tools/list_changed")
    server.text(id, "renamed")


@poked
def endless_progress(id: Any, params: Json) -> None:
    token = params["_meta"]["progressToken"]

    def go_on() -> None:
        count = 0
        while True:
            count += 1
            said = {"progressToken": token, "progress": count, "message": "\u202eon and on" * 99}
            server.notify("notifications/progress", said)

    threading.Thread(target=go_on, daemon=True).start()


@poked
def progress(id: Any, params: Json) -> None:
    token = params["_meta"]["progressToken"]
    said = {"progressToken": token, "progress": 1, "total": 2, "message": "half\u200b way"}
    server.notify("notifications/progress", said)
    server.text(id, "done")


@behaviour
def wrong_version() -> None:
    server.version = "1999-01-01"


@behaviour
def huge_tools_list() -> None:
    server.tools = [tool(f"tool{number}") for number in range(10_000)]


@behaviour
def endless_pages() -> None:
    def page(id: Any, params: Json) -> Json:
        return {"tools": [], "nextCursor": f"{int(params.get('cursor', 0)) + 1}"}

    server.on_list = page


@behaviour
def pages_in_a_circle() -> None:
    server.on_list = lambda id, params: {"tools": [], "nextCursor": "again"}


@behaviour
def pages() -> None:
    def page(id: Any, params: Json) -> Json:
        if "cursor" in params:
            return {"tools": server.tools[1:]}
        return {"tools": server.tools[:1], "nextCursor": "more"}

    server.on_list = page


@poked
def wrong_shape(id: Any, params: Json) -> None:
    server.result(id, {"content": "a text"})


@poked
def result_is_a_list(id: Any, params: Json) -> None:
    server.result(id, [1, 2, 3])


@poked
def error_is_a_text(id: Any, params: Json) -> None:
    server.error(id, "boom")


@poked
def error_without_a_message(id: Any, params: Json) -> None:
    server.error(id, {"code": 1})


@poked
def error_with_a_text_as_code(id: Any, params: Json) -> None:
    server.error(id, {"code": "E_BOOM", "message": "boom"})


@poked
def plain_error(id: Any, params: Json) -> None:
    server.error(id, {"code": -32000, "message": "no\u202e such\x1b[31m thing", "data": [1]})


@poked
def neither_result_nor_error(id: Any, params: Json) -> None:
    server.send({"jsonrpc": "2.0", "id": id})


@poked
def no_jsonrpc_version(id: Any, params: Json) -> None:
    server.send({"id": id, "result": {"content": []}})


@poked
def notification_flood(id: Any, params: Json) -> None:
    line = {"jsonrpc": "2.0", "method": "notifications/message"}
    text = json.dumps({**line, "params": {"level": "debug", "data": "again"}}).encode() + b"\n"
    for _ in range(200):
        server.write(text * 1000)
    server.text(id, "after the flood")


@poked
def change_flood(id: Any, params: Json) -> None:
    text = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'
    server.write(text * 1000)
    server.text(id, "after the flood")


@poked
def request_flood(id: Any, params: Json) -> None:
    requests = [
        {"jsonrpc": "2.0", "id": f"r{number}", "method": "roots/list"} for number in range(1000)
    ]
    server.write(b"".join(json.dumps(it).encode() + b"\n" for it in requests))
    server.text(id, "after the flood")


@poked
def asks_for_what_it_may_not(id: Any, params: Json) -> None:
    message = {"role": "user", "content": {"type": "text", "text": "Hello?"}}
    asked = {"messages": [message], "maxTokens": 10}
    server.request("s1", "sampling/createMessage", asked, lambda it: server.text(id, str(it)))


@poked
def unknown_requests(id: Any, params: Json) -> None:
    server.request("u1", "no/such/method", {}, lambda it: server.text(id, str(it["error"]["code"])))


@poked
def closes_stdout(id: Any, params: Json) -> None:
    os.close(1)
    while True:
        time.sleep(60)


@poked
def half_a_line_then_exit(id: Any, params: Json) -> None:
    server.write(b'{"jsonrpc":"2.0","id":%d,"resu' % id)
    os._exit(0)


@behaviour
def slow_start() -> None:
    time.sleep(0.7)


@behaviour
def exit_at_start() -> None:
    os.write(2, b"no such configuration\n")
    os._exit(2)


@behaviour
def never_ready() -> None:
    server.methods["initialize"] = lambda id, params: None


@behaviour
def ends_at_unknown_methods() -> None:
    """As some older servers do."""

    server.methods["server/discover"] = lambda id, params: os._exit(1)


@poked
def answers_too_late(id: Any, params: Json) -> None:
    def later() -> None:
        time.sleep(1.0)
        server.text(id, "too late")

    threading.Thread(target=later, daemon=True).start()


@poked
def batch(id: Any, params: Json) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/message"}
    answer = {"content": [{"type": "text", "text": "in a batch"}]}
    server.send(
        [
            {**note, "params": {"level": "info", "data": "hello"}},
            {"jsonrpc": "2.0", "id": id, "result": answer},
        ]
    )


@poked
def nan(id: Any, params: Json) -> None:
    server.write(_raw(id, b'{"content":[],"structuredContent":{"a":NaN}}'))


@poked
def big_numbers(id: Any, params: Json) -> None:
    server.write(_raw(id, b'{"content":[],"structuredContent":{"a":' + b"9" * 5000 + b"}}"))


@poked
def reads_nothing(id: Any, params: Json) -> None:
    time.sleep(3600)


@poked
def survives_everything(id: Any, params: Json) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-S", "-c", stubborn])
    server.text(id, json.dumps([os.getpid(), child.pid]))
    time.sleep(600)


@poked
def leaves_a_child_behind(id: Any, params: Json) -> None:
    """Which holds its pipes open."""
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    os._exit(4)


@poked
def breaks_its_promise(id: Any, params: Json) -> None:
    server.result(id, {"content": [], "structuredContent": {"count": "many"}})


@behaviour
def promises_structure() -> None:
    promised = {"type": "object", "properties": {"count": {"type": "integer"}}}
    server.tools[1] = tool("poke", outputSchema=promised)
    server.on_poke = breaks_its_promise


@behaviour
def confusing_names() -> None:
    server.tools += [tool("a.b"), tool("a_b"), tool("echo", "Another echo."), tool("a b/c")]
    server.tools += [tool("x" * 80 + "1"), tool("x" * 80 + "2")]


@behaviour
def hidden_characters() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "An\u200b a\u202e."}},
    }
    server.tools = [
        tool("poke", "Pokes.\u200b\u2066 \U000e0041\U000e0042Nothing else.\x1b[8m", schema),
        tool("sly", "Sly.", {"type": "object", "properties": {"a\u200b": {}}}),
    ]


@behaviour
def too_much_to_say() -> None:
    big = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(4000)}}
    server.tools = [tool("talks", "x" * 20_000), tool("asks", "A tool.", big), tool("poke")]


@behaviour
def odd_tools() -> None:
    server.tools += [
        tool("array", "A tool.", {"type": "array"}),
        tool("plain", "A tool.", {}),
        tool("promises", outputSchema={"type": "array"}),
        tool("described", ["a", "list"]),  # type: ignore[arg-type]
        {"name": "nothing"},
        {"description": "no name"},
        "no tool",  # type: ignore[list-item]
    ]


@behaviour
def changes_in_silence() -> None:
    def change(id: Any, params: Json) -> None:
        server.tools[1] = tool("poke", "Another one.")
        server.text(id, "changed")

    server.on_poke = change


@behaviour
def list_is_no_list() -> None:
    server.on_list = lambda id, params: {"tools": {"poke": 1}}


@behaviour
def catastrophic_pattern() -> None:
    promised = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    server.tools[1] = tool("poke", outputSchema=promised)
    value = "a" * 50_000 + "!"
    server.on_poke = lambda id, params: server.result(
        id, {"content": [], "structuredContent": {"a": value}}
    )


@poked
def pictures_and_sounds(id: Any, params: Json) -> None:
    content = [
        {"type": "text", "text": "Look:\x1b[2J\x07"},
        {"type": "image", "data": "AAAA", "mimeType": "image/png"},
        {"type": "audio", "data": "AAAAAAAA", "mimeType": "audio/wav"},
        {"type": "resource_link", "uri": "file:///a.txt", "name": "a"},
        {"type": "resource", "resource": {"uri": "file:///b.txt", "text": "the text of b"}},
        {"type": "resource", "resource": {"uri": "file:///c.bin", "blob": "AAAA"}},
    ]
    server.result(id, {"content": content})


@poked
def structured_only(id: Any, params: Json) -> None:
    server.result(id, {"content": [], "structuredContent": {"temperature": 21}})


@poked
def tool_error(id: Any, params: Json) -> None:
    content = [{"type": "text", "text": "that went wrong"}]
    server.result(id, {"content": content, "isError": True})


@poked
def long_result(id: Any, params: Json) -> None:
    server.text(id, "begin" + "x" * 1_000_000 + "end")


@poked
def asks_a_model(id: Any, params: Json) -> None:
    message = {"role": "user", "content": {"type": "text", "text": "Hello?"}}
    asked = {"messages": [message], "maxTokens": 10, **params.get("arguments", {})}
    server.request("s1", "sampling/createMessage", asked, lambda it: server.text(id, _show(it)))


@poked
def asks_somebody(id: Any, params: Json) -> None:
    asked = {
        "message": "Which\u200b size?",
        "requestedSchema": {
            "type": "object",
            "properties": {"size": {"type": "integer"}},
            "required": ["size"],
        },
        **params.get("arguments", {}),
    }
    server.request("e1", "elicitation/create", asked, lambda it: server.text(id, _show(it)))


@poked
def asks_for_roots(id: Any, params: Json) -> None:
    """And again when they change."""

    def ask(then: Callable[[Json], None]) -> None:
        server.request("r1", "roots/list", {}, then)

    def again() -> None:
        ask(lambda it: server.notify("notifications/message", {"level": "info", "data": it}))

    server.methods["notifications/roots/list_changed"] = lambda id, params: again()
    ask(lambda it: server.text(id, _show(it)))


def _show(answer: Json) -> str:
    return json.dumps(answer.get("result") or answer.get("error"))


if __name__ == "__main__":
    BEHAVIOURS[sys.argv[1]]()
    server.run()
