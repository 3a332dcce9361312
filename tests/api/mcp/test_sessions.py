"""Sessions of lmrun's own MCP server, by who holds them: on a real port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lmrun.api.door import Door, Key
from lmrun.api.errors import TooManySessions
from lmrun.api.mcp.sessions import Sessions
from lmrun.settings.secret import Secret
from tests.api.mcp.conftest import Desk
from tests.support.http import Reply, wait_until

ACCEPT = "application/json, text/event-stream"
BEGIN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
MOST = 3


@pytest.fixture
def small(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Three sessions for each."""
    monkeypatch.setattr(desk.server, "_sessions", Sessions(MOST, idle_s=600.0))
    yield desk


def begin(desk: Desk, **headers: str) -> str:
    reply = desk.port.ask("POST", "/mcp", BEGIN, accept=ACCEPT, **headers)
    assert reply.status == 200, reply.body
    return reply.header("mcp-session-id") or ""


def use(desk: Desk, session: str, **headers: str) -> int:
    reply: Reply = desk.port.ask(
        "POST", "/mcp", LIST, accept=ACCEPT, mcp_session_id=session, **headers
    )
    return reply.status


def test_one_more_than_one_may_have_ends_the_one_that_was_not_used_longest(small: Desk) -> None:
    sessions = [begin(small) for _ in range(MOST)]
    assert use(small, sessions[0]) == 200, "used again"
    sessions.append(begin(small))
    assert [use(small, it) for it in sessions] == [200, 404, 200, 200]
    for session in sessions:
        small.port.ask("DELETE", "/mcp", mcp_session_id=session)


def test_nobody_loses_a_session_to_somebody_else(small: Desk) -> None:
    granted = frozenset({"inference"})
    keys = tuple(Key(name, Secret(name), granted) for name in ("greedy", "modest"))
    small.door = Door(keys=keys)
    modest = begin(small, authorization="Bearer modest")
    greedy = [begin(small, authorization="Bearer greedy") for _ in range(3 * MOST)]
    assert use(small, modest, authorization="Bearer modest") == 200
    assert [use(small, it, authorization="Bearer greedy") for it in greedy] == [
        *([404] * 2 * MOST),
        *([200] * MOST),
    ]


def test_sessions_in_use_are_kept_and_the_next_one_is_refused(small: Desk) -> None:
    small.pool.stop_at = "mid-stream"
    sessions = [begin(small) for _ in range(MOST)]
    body = {**LIST, "method": "tools/call"}
    body["params"] = {"name": "chat", "arguments": {"prompt": "hi"}}
    with ExitStack() as connections:
        for session in sessions:
            sock = connections.enter_context(small.port.connect())
            sock.sendall(to_bytes(small, body, session))
        wait_until(lambda: small.pool.open_generators == MOST)
        refused = small.port.ask("POST", "/mcp", BEGIN, accept=ACCEPT)
        assert (refused.status, refused.code) == (429, "too_many_sessions")
        assert refused.header("retry-after") == "1"
        message = refused.json["error"]["message"]
        assert message.startswith("All 3 sessions that the address 127.0.0.1 may have are in use.")
        assert "2026-07-28" in message
    wait_until(lambda: small.pool.is_idle)
    small.pool.stop_at = None
    begin(small)


def to_bytes(desk: Desk, body: dict[str, Any], session: str) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{desk.port.number}\r\n"
        f"Content-Type: application/json\r\nAccept: {ACCEPT}\r\n"
        f"Mcp-Session-Id: {session}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def test_what_begins_no_session_takes_no_place(small: Desk) -> None:
    for _ in range(2 * MOST):
        assert small.port.ask("POST", "/mcp", LIST, accept=ACCEPT).status == 400
    sessions = [begin(small) for _ in range(MOST)]
    ended = small.port.ask("DELETE", "/mcp", accept=ACCEPT, mcp_session_id=sessions[1])
    assert ended.status == 200
    begin(small)
    assert [use(small, it) for it in sessions] == [200, 404, 200]


# ---- who holds what, without a port


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_sessions_that_have_ended_by_themselves_do_not_count() -> None:
    clock = Clock()
    sessions = Sessions(2, idle_s=10.0, clock=clock)
    sessions.add("a", "1")
    clock.now += 6
    sessions.add("a", "2")
    clock.now += 6
    with sessions.opening("a") as given_up:
        assert given_up is None
        sessions.add("a", "3")
    with sessions.opening("a") as given_up:
        assert given_up == "2"


def test_those_that_are_being_opened_count() -> None:
    sessions = Sessions(2, idle_s=10.0)
    with sessions.opening("a"), sessions.opening("a"), pytest.raises(TooManySessions):
        sessions.opening("a").__enter__()
    with sessions.opening("a") as given_up, sessions.opening("b"):
        assert given_up is None


def test_one_in_use_is_not_given_up() -> None:
    sessions = Sessions(2, idle_s=10.0)
    sessions.add("a", "1")
    sessions.add("a", "2")
    with sessions.using("a", "1"), sessions.using("b", "1"), sessions.opening("a") as given_up:
        assert given_up == "2"
    sessions.remove("a", "1")
    sessions.remove("a", "nothing")
