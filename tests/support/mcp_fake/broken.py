"""Answers that are none, or not what was promised."""

from __future__ import annotations

import random
from typing import Any

from tests.support.mcp_fake.server import Json, behaviour, poked, raw, server, tool


@poked
def bad_utf8(id: Any, params: Json) -> None:
    server.write(raw(id, b'{"content":[{"type":"text","text":"\xff\xfe\x80"}]}'))


@poked
def noise(id: Any, params: Json) -> None:
    server.write(b"Starting up...\nDone! 100%\n\n\x00\x01\x02\n[1, 2\n42\nnull\n")
    server.text(id, "after the noise")


@poked
def deep_json(id: Any, params: Json) -> None:
    server.write(raw(id, b'{"content":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))


@poked
def somewhat_deep_json(id: Any, params: Json) -> None:
    inner = b'{"a":' * 300 + b"1" + b"}" * 300
    server.write(raw(id, b'{"content":[],"structuredContent":' + inner + b"}"))


@poked
def unknown_id(id: Any, params: Json) -> None:
    server.text(987_654, "for somebody else")


@poked
def duplicate_id(id: Any, params: Json) -> None:
    server.text(id, "first")
    server.text(id, "second")


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
    server.write(raw(id, b'{"content":[],"structuredContent":{"a":NaN}}'))


@poked
def big_numbers(id: Any, params: Json) -> None:
    server.write(raw(id, b'{"content":[],"structuredContent":{"a":' + b"9" * 5000 + b"}}"))


@poked
def breaks_its_promise(id: Any, params: Json) -> None:
    server.result(id, {"content": [], "structuredContent": {"count": "many"}})


@behaviour
def promises_structure() -> None:
    promised = {"type": "object", "properties": {"count": {"type": "integer"}}}
    server.tools[1] = tool("poke", outputSchema=promised)
    server.on_poke = breaks_its_promise


@behaviour
def catastrophic_pattern() -> None:
    promised = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    server.tools[1] = tool("poke", outputSchema=promised)
    value = "a" * 50_000 + "!"
    server.on_poke = lambda id, params: server.result(
        id, {"content": [], "structuredContent": {"a": value}}
    )


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
