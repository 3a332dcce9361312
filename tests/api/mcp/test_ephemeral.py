"""MCP servers that requests bring along: lmrun's own, on another port, with a key of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.api.responses.routes import make_responses_routes
from lmrun.settings.secret import Secret
from lmrun.store.conversations import Conversations
from tests.api.mcp.conftest import Desk
from tests.support.http import Port, listening, serving_app
from tests.support.rounds import RoundsPool, call, say
from tests.support.stand_in_house import StandInHouse, lmstudio_routes
from tests.support.tool_shop import TimeTool, ToolShop

ROME = '{"zone": "Rome"}'
FRONT = Door(keys=(Key("front", Secret("front"), frozenset({"inference", "tools"})),))


@dataclass
class Front:
    """The server that is asked; its door wants another key than the one that is brought along."""

    port: Port
    pool: RoundsPool
    shop: ToolShop
    door: Door = field(default_factory=lambda: FRONT)

    def chat(self, integration: dict[str, Any], **fields: Any) -> Any:
        body = {"model": "assistant", "input": "hi", "integrations": [integration], **fields}
        return self.port.ask("POST", "/api/v1/chat", body, authorization="Bearer front")


@pytest.fixture(scope="module")
def _front() -> Iterator[Front]:
    pool, shop, conversations, fronts = RoundsPool(), ToolShop(), Conversations(), list[Front]()
    house = StandInHouse(pool, shop)
    routes = (*lmstudio_routes(house), *make_responses_routes(pool, conversations, shop))
    app = build_app(pool, lambda: fronts[0].door, routes)
    with listening(serving_app(app)) as port:
        fronts.append(Front(port, pool, shop))
        yield fronts[0]
    conversations.close()


@pytest.fixture
def front(_front: Front, desk: Desk) -> Front:
    _front.pool.rounds.clear()
    _front.pool.prompts.clear()
    _front.shop.server = {"ephemeral": [f"127.0.0.1:{desk.port.number}"]}
    key = Key("theirs", Secret("theirs"), frozenset({"inference", "tools"}))
    desk.door = Door(keys=(key,))
    return _front


def bring(desk: Desk, **fields: Any) -> dict[str, Any]:
    return {
        "type": "ephemeral_mcp",
        "server_label": "mine",
        "server_url": f"{desk.port.url}/mcp",
        "headers": {"Authorization": "Bearer theirs"},
        **fields,
    }


def test_its_tools_are_run_with_the_headers_that_came_with_it(front: Front, desk: Desk) -> None:
    tool = desk.shop.tools[0]
    assert isinstance(tool, TimeTool)
    front.pool.rounds.extend((call("mine__now", ROME), say("Noon.")))
    reply = front.chat(bring(desk))
    assert reply.status == 200, reply.body
    made, message = reply.json["output"]
    assert (made["tool"], made["output"]) == ("now", "12:00 in Rome")
    assert made["provider_info"] == {"type": "ephemeral_mcp", "server_label": "mine"}
    assert message["content"] == "Noon."
    assert tool.calls == [{"zone": "Rome"}]
    assert desk.shop.gate.wishes[-1].caller.key == "theirs"
    wish = front.shop.gate.wishes[-1]
    assert (wish.tool.path, wish.tool.is_untrusted) == ("ephemeral/mine/now", True)


def test_allowed_tools_hold_for_it_too(front: Front, desk: Desk) -> None:
    front.pool.rounds.append(say("Hi."))
    reply = front.chat(bring(desk, allowed_tools=["now", "list_models"]))
    assert reply.status == 200
    tools = front.pool.prompts[-1].tools  # type: ignore[union-attr]  # a conversation
    assert sorted(tool.name for tool in tools) == ["mine__list_models", "mine__now"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"headers": {}}, "`integrations[0].server_url`: MCP server 'mine': It refused to begin"),
        ({"headers": {"Authorization": "Bearer front"}}, "It refused to begin"),
        ({"server_url": "http://127.0.0.1:1/mcp"}, "none of the hosts"),
    ],
    ids=["no key", "another's key", "another server"],
)
def test_one_that_cannot_be_used_is_said_to_be_so_at_once(
    front: Front, desk: Desk, fields: dict[str, Any], message: str
) -> None:
    start = time.monotonic()
    reply = front.chat(bring(desk, **fields))
    assert reply.status in (403, 502)
    assert message in reply.json["error"]["message"]
    assert time.monotonic() - start < 10
    assert front.pool.is_idle


def test_one_that_takes_too_long_is_told_what_a_request_can_do_about_it(
    front: Front, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmrun.tools.mcp.ephemeral.START_TIMEOUT", "0.3s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        number = silent.getsockname()[1]
        front.shop.server = {"ephemeral": [f"127.0.0.1:{number}"]}
        reply = front.chat(bring(desk, server_url=f"http://127.0.0.1:{number}/mcp"))
    message = reply.json["error"]["message"]
    assert reply.status == 502, message
    assert "It was not ready within 0.3 s." in message
    assert "declare it in the profile, with a `start_timeout` of its own" in message


def test_nothing_of_a_headers_value_is_shown_or_kept(front: Front, desk: Desk) -> None:
    front.pool.rounds.extend((call("mine__now", ROME), say("Noon.")))
    given: Any = {
        "model": "assistant",
        "input": "hi",
        "tools": [
            {
                "type": "mcp",
                "server_label": "mine",
                "server_url": f"{desk.port.url}/mcp",
                "authorization": "theirs",
                "require_approval": "never",
            }
        ],
    }
    with openai.OpenAI(base_url=f"{front.port.url}/v1", api_key="front", max_retries=0) as client:
        response = client.responses.create(**given)
        assert [item.type for item in response.output] == ["mcp_list_tools", "mcp_call", "message"]
        assert response.output[1].to_dict()["output"] == "12:00 in Rome"
        stored = client.responses.retrieve(response.id)
    assert "theirs" not in response.to_json()
    assert "theirs" not in stored.to_json()
