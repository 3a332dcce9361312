"""lmrun as an MCP server, asked by the protocol's own client: old and new revisions alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.api.mcp.offer import Offering
from lmrun.api.mcp.routes import make_mcp_routes
from lmrun.api.mcp.server import McpServer
from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.settings.secret import Secret
from tests.api.mcp.conftest import Desk
from tests.support.http import listening, wait_until
from tests.support.rounds import RoundsPool, say
from tests.support.stand_in_house import running
from tests.support.tool_shop import TimeTool, ToolShop

MODES = pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
BEGIN = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
OWN = ["chat", "embed", "list_models"]


async def call(desk: Desk, tool: str, mode: str = "auto", **arguments: Any) -> Any:
    async with desk.client(mode) as client:
        return await client.call_tool(tool, arguments)


def text(result: types.CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text


@MODES
def test_every_revision_is_spoken(desk: Desk, mode: str) -> None:
    async def ask() -> tuple[str, list[types.Tool]]:
        async with desk.client(mode) as client:
            # A client that begins with the newest revision unasked knows no name.
            name = client.server_info.name if client.server_info is not None else None
            assert name == (None if mode == "2026-07-28" else "lmrun")
            tools = (await client.list_tools()).tools
            return client.protocol_version, tools

    version, tools = asyncio.run(ask())
    assert version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
    assert [tool.name for tool in tools] == [*OWN, "now"]
    assert all(tool.description for tool in tools)


@MODES
def test_a_model_answers_a_chat(desk: Desk, mode: str) -> None:
    desk.pool.rounds.append(say("Paris."))
    result = asyncio.run(
        call(desk, "chat", mode, prompt="Capital of France?", system="Be brief.", max_tokens=9)
    )
    assert not result.is_error
    assert text(result) == "Paris."
    assert result.structured_content == {
        "model": "assistant",
        "text": "Paris.",
        "reasoning": "",
        "stop_reason": "eosFound",
        "prompt_tokens": 10,
        "completion_tokens": 5,
    }
    (request,) = desk.pool.prompts
    assert isinstance(request, Request)
    assert request.messages == (
        Message("system", "Be brief."),
        Message("user", "Capital of France?"),
    )
    assert desk.pool.predictions[0].max_tokens == 9


def test_texts_become_vectors_and_models_are_listed(desk: Desk) -> None:
    refused = asyncio.run(call(desk, "embed", input=["a"]))
    assert refused.is_error
    assert "`model` is required: there is no model" in text(refused)
    refused = asyncio.run(call(desk, "embed", input=["a"], model="assistant"))
    assert "makes no embeddings" in text(refused)
    listed = asyncio.run(call(desk, "list_models")).structured_content
    assert listed == {
        "models": [
            {
                "identifier": "assistant",
                "key": "assistant",
                "type": "llm",
                "state": "ready",
                "context_length": 4096,
            }
        ]
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either `prompt` or `messages`"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "either"),
        ({"prompt": "a", "temprature": 1}, "Unknown parameter: `temprature` (did you mean"),
        ({"prompt": "a", "model": "nobody"}, "no model 'nobody'"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ],
)
def test_wrong_arguments_are_a_result_that_says_so(
    desk: Desk, arguments: dict[str, Any], message: str
) -> None:
    result = asyncio.run(call(desk, "chat", **arguments))
    assert result.is_error
    assert message in text(result)


@MODES
def test_an_exported_tool_runs_under_the_policy(desk: Desk, mode: str) -> None:
    now = TimeTool(path="now", is_exported=True)
    desk.shop.tools = [now, TimeTool(path="risky", policy="ask", is_exported=True)]
    result = asyncio.run(call(desk, "now", mode, zone="Rome"))
    assert (result.is_error, text(result)) == (False, "12:00 in Rome")
    wish = desk.shop.gate.wishes[-1]
    assert (wish.caller.door, wish.tool.path) == ("mcp", "now")
    refused = asyncio.run(call(desk, "risky", mode, zone="Rome"))
    assert (refused.is_error, text(refused)) == (True, "denied: nobody is there to ask")
    wrong = asyncio.run(call(desk, "now", mode, place="Rome"))
    assert wrong.is_error
    assert "zone" in text(wrong)
    assert now.calls == [{"zone": "Rome"}]


def test_what_is_not_exported_is_not_there(desk: Desk) -> None:
    async def ask() -> None:
        async with desk.client() as client:
            for name in ("later", "add", "nothing"):
                with pytest.raises(MCPError, match=f"no tool '{name}'"):
                    await client.call_tool(name, {"zone": "Rome"})

    asyncio.run(ask())


def test_an_exported_tool_that_is_called_like_lmruns_own_gets_another_name(desk: Desk) -> None:
    chat = TimeTool(path="chat", is_exported=True)
    desk.shop.tools = [chat]
    result = asyncio.run(call(desk, "tool__chat", zone="Rome"))
    assert text(result) == "12:00 in Rome"


@MODES
def test_a_tools_progress_reaches_the_client(desk: Desk, mode: str) -> None:
    tool = TimeTool(path="now", is_exported=True, never=True)
    desk.shop.tools = [tool]
    told: list[tuple[float, float | None, str | None]] = []

    async def ask() -> None:
        came = anyio.Event()

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))
            came.set()

        async with desk.client(mode) as client, anyio.create_task_group() as group:

            async def wait() -> None:
                await client.call_tool("now", {"zone": "Rome"}, progress_callback=note)

            group.start_soon(wait)
            with anyio.fail_after(5):
                await came.wait()
            group.cancel_scope.cancel()

    asyncio.run(ask())
    assert told == [(1.0, 2.0, "half")]
    wait_until(lambda: tool.cancelled == 1)


@MODES
def test_cancelling_reaches_the_model(desk: Desk, mode: str) -> None:
    desk.pool.stop_at = "mid-stream"

    async def ask() -> None:
        async with desk.client(mode) as client:
            with anyio.move_on_after(30) as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(client.call_tool, "chat", {"prompt": "hi"})
                    with anyio.fail_after(5):
                        while not desk.pool.open_generators:
                            await anyio.sleep(0.005)
                    group.cancel_scope.cancel()
            assert not scope.cancelled_caught
            with anyio.fail_after(5):
                while not desk.pool.is_idle:
                    await anyio.sleep(0.005)
            desk.pool.stop_at = None
            result = await client.call_tool("chat", {"prompt": "again"})
            assert not result.is_error, "the session goes on"

    asyncio.run(ask())


def test_a_client_that_leaves_ends_its_call(desk: Desk) -> None:
    """Older revisions keep the session; the request itself is over all the same."""
    desk.pool.stop_at = "mid-stream"
    accept = "application/json, text/event-stream"
    reply = desk.port.ask("POST", "/mcp", message(1, "initialize", BEGIN), accept=accept)
    session = reply.header("mcp-session-id")
    assert reply.status == 200
    assert session is not None
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert desk.port.ask("POST", "/mcp", note, accept=accept, mcp_session_id=session).status == 202
    body = message(2, "tools/call", {"name": "chat", "arguments": {"prompt": "hi"}})
    with desk.port.connect() as sock:
        sock.sendall(to_bytes(desk, body, accept, session))
        wait_until(lambda: desk.pool.open_generators == 1)
    wait_until(lambda: desk.pool.is_idle)
    ended = desk.port.ask("DELETE", "/mcp", accept=accept, mcp_session_id=session)
    assert ended.status == 200
    gone = desk.port.ask("POST", "/mcp", body, accept=accept, mcp_session_id=session)
    assert gone.status == 404


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmrun.api.mcp.server.MAX_SESSIONS", 2)
    server = McpServer(Offering(RoundsPool(), ToolShop()))

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        async with running(server):
            yield build_app(RoundsPool(), Door, make_mcp_routes(server))

    with listening(make_app) as port:
        replies = [port.ask("POST", "/mcp", message(1, "initialize", BEGIN)) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 503]
        session = replies[0].header("mcp-session-id") or ""
        assert port.ask("DELETE", "/mcp", mcp_session_id=session).status == 200
        assert port.ask("POST", "/mcp", message(1, "initialize", BEGIN)).status == 200


def test_an_answer_that_takes_too_long_ends_with_the_ports_limit(desk: Desk) -> None:
    desk.pool.stop_at = "mid-stream"
    desk.door = Door(request_time_s=0.3)
    accept = "application/json, text/event-stream"
    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "chat", "arguments": {"prompt": "hi"}, "_meta": meta}
    reply = desk.port.ask(
        "POST",
        "/mcp",
        message(1, "tools/call", params),
        accept=accept,
        mcp_protocol_version=version,
        mcp_method="tools/call",
        mcp_name="chat",
    )
    assert (reply.status, reply.code) == (504, "answer_timed_out")
    wait_until(lambda: desk.pool.is_idle)


def message(id: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def to_bytes(desk: Desk, body: Any, accept: str, session: str) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{desk.port.number}\r\n"
        f"Content-Type: application/json\r\nAccept: {accept}\r\n"
        f"Mcp-Session-Id: {session}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def test_what_is_no_message_is_refused_at_the_door(desk: Desk) -> None:
    accept = "application/json, text/event-stream"
    assert desk.port.ask("POST", "/mcp", [message(1, "ping", {})], accept=accept).status == 400
    assert desk.port.ask("GET", "/mcp", accept=accept).status == 405
    assert desk.port.ask("POST", "/mcp", {}, accept=accept, origin="https://a.com").status == 403
    assert desk.port.ask("POST", "/mcp", {}, accept=accept, host="evil.example").status == 421


KEYS = {
    "reader": frozenset({"inference"}),
    "maker": frozenset({"inference", "tools"}),
    "loader": frozenset({"models"}),
}


def test_a_key_sees_and_calls_what_its_scopes_allow(desk: Desk) -> None:
    desk.door = Door(keys=tuple(Key(name, Secret(name), it) for name, it in KEYS.items()))

    async def names(key: str) -> list[str]:
        async with desk.client(key=key) as client:
            return [tool.name for tool in (await client.list_tools()).tools]

    async def use(key: str) -> bool:
        async with desk.client("legacy", key=key) as client:
            try:
                return not (await client.call_tool("now", {"zone": "Rome"})).is_error
            except MCPError as error:
                assert "no tool 'now'" in error.message
                return False

    assert asyncio.run(names("reader")) == OWN
    assert asyncio.run(names("maker")) == [*OWN, "now"]
    assert not asyncio.run(use("reader"))
    assert asyncio.run(use("maker"))
    assert desk.shop.gate.wishes[-1].caller.key == "maker"
    initialize = message(1, "initialize", {})
    for headers, status in (({}, 401), ({"authorization": "Bearer loader"}, 403)):
        assert desk.port.ask("POST", "/mcp", initialize, **headers).status == status


def test_a_session_answers_only_the_key_that_began_it(desk: Desk) -> None:
    desk.door = Door(keys=tuple(Key(name, Secret(name), it) for name, it in KEYS.items()))
    accept = "application/json, text/event-stream"
    begun = desk.port.ask(
        "POST",
        "/mcp",
        message(1, "initialize", BEGIN),
        accept=accept,
        authorization="Bearer maker",
    )
    session = begun.header("mcp-session-id") or ""
    body = message(2, "tools/list", {})
    status = {
        key: desk.port.ask(
            "POST",
            "/mcp",
            body,
            accept=accept,
            mcp_session_id=session,
            authorization=f"Bearer {key}",
        ).status
        for key in ("maker", "reader")
    }
    assert status == {"maker": 200, "reader": 404}
