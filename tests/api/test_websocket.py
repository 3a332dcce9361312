"""WebSocket handshakes: checked like any request, then refused.

No listener of this version upgrades connections; the layer is also called as one that does would.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from starlette.types import Message

from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.settings.secret import Secret
from tests.api.conftest import Served
from tests.support.stand_in_pool import StandInPool

KEY = "k" * 40
LOCKED = Door(keys=(Key("ci", Secret(KEY), frozenset({"inference"})),))


def shake_hands(door: Door, headers: dict[str, str], *, can_answer: bool = True) -> list[Message]:
    """What the server says to a handshake for a path that is an HTTP route."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/v1/models",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 1234),
        "client": ("127.0.0.1", 50_000),
        "extensions": {"websocket.http.response": {}} if can_answer else {},
    }

    async def shake() -> None:
        await build_app(StandInPool(), lambda: door)(scope, receive, send)

    asyncio.run(shake())
    return sent


@pytest.mark.parametrize(
    ("door", "headers", "status"),
    [
        (Door(), {"host": "evil.example"}, 421),
        (Door(), {}, 421),
        (Door(), {"host": "localhost:1234", "origin": "http://evil.test:9000"}, 403),
        (Door(), {"host": "localhost:1234", "origin": "null"}, 403),
        (Door(), {"host": "localhost:1234", "sec-fetch-site": "cross-site"}, 403),
        (LOCKED, {"host": "localhost:1234"}, 401),
        (LOCKED, {"host": "localhost:1234", "x-api-key": "wrong"}, 401),
        (LOCKED, {"host": "localhost:1234", "x-api-key": KEY}, 404),
        (Door(), {"host": "localhost:1234"}, 404),
    ],
)
def test_a_handshake_is_refused_before_it_is_accepted(
    door: Door, headers: dict[str, str], status: int
) -> None:
    start, body = shake_hands(door, headers)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert body["type"] == "websocket.http.response.body"
    assert shake_hands(door, headers, can_answer=False) == [
        {"type": "websocket.close", "code": 4000 + status}
    ]


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, upgrade"])
def test_a_handshake_on_the_port_is_refused_with_a_reason(
    served: Served, connection: str, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = {"connection": connection, "upgrade": "WebSocket", "sec_websocket_version": "13"}
    with caplog.at_level(logging.INFO):
        reply = served.port.ask("GET", "/v1/models", sec_websocket_key="a" * 24, **upgrade)
    assert (reply.status, reply.code) == (400, "upgrade_refused")
    assert "does not speak WebSocket" in reply.json["error"]["message"]
    assert caplog.messages == []
    evil = served.port.ask("GET", "/v1/models", origin="http://evil.test:9000", **upgrade)
    assert evil.status == 403
    served.set_door(LOCKED)
    assert served.port.ask("GET", "/v1/models", **upgrade).status == 401


@pytest.mark.parametrize(
    "offer",
    [
        {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAABk"},
        {"connection": "close", "upgrade": "websocket"},
        {"connection": "upgrade", "upgrade": ""},
    ],
)
def test_what_is_no_handshake_is_answered_as_plain_http(
    served: Served, offer: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert served.port.ask("GET", "/v1/models", **offer).status == 200
    assert caplog.messages == []
