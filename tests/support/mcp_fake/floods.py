"""Too much of everything."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from tests.support.mcp_fake.server import Json, poked, server


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
def long_result(id: Any, params: Json) -> None:
    server.text(id, "begin" + "x" * 1_000_000 + "end")
