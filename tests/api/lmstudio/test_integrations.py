"""/api/v1/chat with tools that the server runs: items, events, what is remembered, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.chat.events import Event, MessageDelta, ToolCallArguments, ToolCallStart
from lmrun.chat.messages import Message, ToolCall
from lmrun.chat.request import Request
from lmrun.errors import ContextOverflow, McpUnreachable
from lmrun.settings.secret import Secret
from tests.api.lmstudio.sse import read_named_events
from tests.support.http import Port, Reply, listening, serving_app, wait_until
from tests.support.profiles import posting
from tests.support.rounds import Add, RoundsPool, call, say
from tests.support.stand_in_house import StandInHouse, lmstudio_routes
from tests.support.tool_shop import TimeTool, ToolShop

TIME = {"type": "plugin", "plugin_id": "mcp/time"}
ROME = '{"zone": "Rome"}'


@dataclass
class Talk:
    """A server whose model says what it is told to, and has the tools it is given."""

    port: Port
    pool: RoundsPool
    shop: ToolShop
    door: Door = field(default_factory=Door)

    def ask(self, *rounds: tuple[Event, ...], key: str | None = None, **fields: Any) -> Reply:
        self.pool.rounds.clear()
        self.pool.rounds.extend(rounds)
        body = {"model": "assistant", "input": "What time is it?", **fields}
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return self.port.ask("POST", "/api/v1/chat", body, **headers)

    def answer(self, *rounds: tuple[Event, ...], **fields: Any) -> dict[str, Any]:
        reply = self.ask(*rounds, **{"integrations": ["mcp/time"], **fields})
        assert reply.status == 200, reply.body
        answer: dict[str, Any] = reply.json
        return answer

    def stream(self, *rounds: tuple[Event, ...], **fields: Any) -> list[tuple[str, dict[str, Any]]]:
        reply = self.ask(*rounds, stream=True, **{"integrations": ["mcp/time"], **fields})
        assert reply.status == 200, reply.body
        return read_named_events(reply.body)


@pytest.fixture(scope="module")
def _talk() -> Iterator[Talk]:
    pool, shop = RoundsPool(), ToolShop()
    talks: list[Talk] = []
    routes = lmstudio_routes(StandInHouse(pool, shop))
    app = build_app(pool, lambda: talks[0].door, routes)
    with listening(serving_app(app)) as port:
        talks.append(Talk(port, pool, shop))
        yield talks[0]


@pytest.fixture
def talk(_talk: Talk) -> Talk:
    """As new: the server `time` has the tools `now` and `later`."""
    _talk.door = Door()
    _talk.shop.tools = [TimeTool(), TimeTool("later"), Add()]
    _talk.shop.server, _talk.shop.failure = {}, None
    _talk.shop.faults.clear()
    _talk.pool.prompts.clear()
    _talk.pool.predictions.clear()
    return _talk


def prompt(talk: Talk, number: int = -1) -> Request:
    """What the model saw."""
    request = talk.pool.prompts[number]
    assert isinstance(request, Request)
    return request


def test_a_plugins_tool_is_run_and_the_answer_shows_call_and_text(talk: Talk) -> None:
    answer = talk.answer(call("time__now", ROME, before="Let me see."), say("Noon."))
    assert answer["output"] == [
        {"type": "message", "content": "Let me see."},
        {
            "type": "tool_call",
            "tool": "now",
            "arguments": {"zone": "Rome"},
            "output": "12:00 in Rome",
            "provider_info": TIME,
        },
        {"type": "message", "content": "Noon."},
    ]
    assert answer["stats"]["total_output_tokens"] == 10
    assert answer["stats"]["input_tokens"] == 20
    assert [tool.name for tool in prompt(talk, 0).tools] == ["time__now", "time__later"]


def test_the_stream_tells_of_each_call_between_the_texts(talk: Talk) -> None:
    split = (
        MessageDelta("Let me see."),
        ToolCallStart(0, "c1", "time__now"),
        ToolCallArguments(0, '{"zone": "{Ro'),
        ToolCallArguments(0, 'me}"}'),
    )
    events = talk.stream(split, say("Noon."))
    begin = ["prompt_processing.start", "prompt_processing.progress", "prompt_processing.end"]
    said = ["message.start", "message.delta", "message.end"]
    names = [name for name, _ in events if name not in begin]
    calls = ["tool_call.start", "tool_call.arguments", "tool_call.success"]
    assert names == ["chat.start", *said, *calls, *said, "chat.end"]
    told = dict(events)
    arguments = {"zone": "{Rome}"}
    assert told["tool_call.start"] == {
        "type": "tool_call.start",
        "tool": "now",
        "provider_info": TIME,
    }
    assert told["tool_call.arguments"]["arguments"] == arguments
    assert told["tool_call.success"] == {
        "type": "tool_call.success",
        "tool": "now",
        "arguments": arguments,
        "output": "12:00 in {Rome}",
        "provider_info": TIME,
    }
    whole = talk.answer(split, say("Noon."))
    assert told["chat.end"]["result"]["output"] == whole["output"]


def test_a_chat_that_goes_on_remembers_calls_and_results(talk: Talk) -> None:
    first = talk.answer(call("time__now", ROME, before="Hm."), say("Noon."))
    talk.answer(say("It was."), previous_response_id=first["response_id"], input="Sure?")
    assert prompt(talk).messages == (
        Message("user", "What time is it?"),
        Message("assistant", "Hm.", tool_calls=(ToolCall("c1", "time__now", ROME),)),
        Message("tool", "12:00 in Rome", tool_call_id="c1", name="time__now"),
        Message("assistant", "Noon."),
        Message("user", "Sure?"),
    )


@pytest.mark.parametrize(
    ("name", "arguments", "item"),
    [
        ("open_browser", "{}", {"type": "invalid_name", "tool_name": "open_browser"}),
        (
            "time__now",
            '{"place": "Rome"}',
            {
                "type": "invalid_arguments",
                "tool_name": "now",
                "arguments": {"place": "Rome"},
                "provider_info": TIME,
            },
        ),
    ],
)
def test_a_call_that_cannot_be_made_is_invalid(
    talk: Talk, name: str, arguments: str, item: dict[str, Any]
) -> None:
    events = talk.stream(call(name, arguments), say("Well."))
    ((_, failure),) = [it for it in events if it[0] == "tool_call.failure"]
    assert failure["metadata"] == item
    first, second = events[-1][1]["result"]["output"]
    assert first == {**failure, "type": "invalid_tool_call"}
    assert second == {"type": "message", "content": "Well."}


def test_a_tool_that_fails_says_why(talk: Talk) -> None:
    talk.shop.tools = [TimeTool(error="timeout")]
    events = talk.stream(call("time__now", ROME), say("Sorry."))
    ((_, failure),) = [it for it in events if it[0] == "tool_call.failure"]
    assert failure["reason"] == "no time: timeout"
    assert failure["metadata"]["type"] == "timeout"
    first, _ = events[-1][1]["result"]["output"]
    assert (first["type"], first["output"], first["error"]) == (
        "tool_call",
        "no time: timeout",
        "timeout",
    )


def test_what_the_policy_would_ask_about_is_denied(talk: Talk) -> None:
    tool = TimeTool(policy="ask")
    talk.shop.tools = [tool]
    first, _ = talk.answer(call("time__now", ROME), say("Sorry."))["output"]
    assert first["error"] == "denied"
    assert tool.calls == []


def test_a_client_that_leaves_ends_tool_and_model(talk: Talk) -> None:
    tool = TimeTool(never=True)
    talk.shop.tools = [tool]
    talk.pool.rounds.append(call("time__now", ROME))
    body = {"model": "assistant", "input": "hi", "integrations": ["mcp/time"], "stream": True}
    with posting(talk.port.url, body, "/api/v1/chat") as response:
        assert any(line.startswith(b"event: tool_call.arguments") for line in response)
        wait_until(lambda: bool(tool.calls))
    wait_until(lambda: tool.cancelled == 1 and talk.pool.is_idle)


def test_a_run_without_an_end_is_an_error_at_the_end_of_the_stream(talk: Talk) -> None:
    """The same call again and again: the fourth is one too many."""
    events = talk.stream(*[call("time__now", ROME)] * 9)
    assert [name for name, _ in events[-2:]] == ["error", "chat.end"]
    assert events[-2][1]["error"]["code"] == "agent_budget_exceeded"
    items = events[-1][1]["result"]["output"]
    assert [it["type"] for it in items] == ["tool_call"] * 3
    assert talk.ask(*[call("time__now", ROME)] * 9, integrations=["mcp/time"]).status == 422


def test_a_failure_before_the_first_word_is_one_of_the_request(talk: Talk) -> None:
    talk.pool.fail_at, talk.pool.failure = "prefill", ContextOverflow("too long", param="prompt")
    try:
        reply = talk.ask(integrations=["mcp/time"], stream=True)
    finally:
        talk.pool.fail_at = None
    assert (reply.status, reply.json["error"]["param"]) == (400, "input")


def test_allowed_tools_are_all_that_is_offered(talk: Talk) -> None:
    plugin = {"type": "plugin", "id": "mcp/time", "allowed_tools": ["later"]}
    talk.answer(say("Hi."), integrations=[plugin])
    assert [tool.name for tool in prompt(talk).tools] == ["time__later"]


@pytest.mark.parametrize(
    ("id", "names"), [("tools", ["add", "sub"]), ("tools/sub", ["sub"])], ids=["all", "one"]
)
def test_the_profiles_own_tools_are_a_plugin(talk: Talk, id: str, names: list[str]) -> None:
    talk.shop.tools = [TimeTool(), Add(), Add(name="sub")]
    answer = talk.answer(call(names[-1], '{"a": 1, "b": 2}'), say("3."), integrations=[id])
    assert [tool.name for tool in prompt(talk, 0).tools] == names
    call_item, _ = answer["output"]
    assert call_item["tool"] == names[-1]
    assert call_item["provider_info"] == {"type": "plugin", "plugin_id": id}


def test_the_longest_answer_is_that_of_all_rounds_together(talk: Talk) -> None:
    """Each round writes 5 tokens, as the pool counts."""
    calling = call("time__now", ROME)
    answer = talk.answer(calling, calling, say("Noon."), max_output_tokens=10)
    assert [it.max_tokens for it in talk.pool.predictions] == [10, 5]
    assert [it["type"] for it in answer["output"]] == ["tool_call"] * 2
    assert answer["stats"]["total_output_tokens"] == 10


@pytest.mark.parametrize(
    ("integrations", "param", "message"),
    [
        (["mcp/space"], "integrations[0].id", "no MCP server 'space'"),
        (["tools/fly"], "integrations[0].id", "no tool 'fly'"),
        (["playwright"], "integrations[0]", "should match pattern"),
        (["mcp/time", "mcp/time"], "integrations", "there already"),
        (
            [{"type": "plugin", "id": "mcp/time", "allowed_tools": ["now", "then"]}],
            "integrations[0].allowed_tools",
            "no tool 'then'. It offers later, now.",
        ),
        ([{"type": "web"}], "integrations[0].type", "'plugin' or 'ephemeral_mcp'"),
        ([{"type": "plugin", "id": "mcp/time", "command": ["sh"]}], None, "unknown"),
    ],
)
def test_a_wrong_integration_is_refused_by_name(
    talk: Talk, integrations: list[Any], param: str | None, message: str
) -> None:
    reply = talk.ask(integrations=integrations)
    error = reply.json["error"]
    assert reply.status == 400
    assert message in error["message"]
    assert error["type"] == "invalid_request"
    if param is not None:
        assert error["param"] == param
    assert talk.pool.prompts == []


def test_a_server_that_cannot_be_started_is_a_connection_error(talk: Talk) -> None:
    talk.shop.failure = McpUnreachable("time is gone.")
    reply = talk.ask(integrations=["mcp/time"], stream=True)
    assert reply.status == 502
    assert reply.json["error"]["type"] == "mcp_connection_error"


def test_a_declared_tool_that_could_not_be_had_says_why(talk: Talk) -> None:
    talk.shop.faults["add"] = "t.py has no function f"
    reply = talk.ask(integrations=["tools/add"])
    assert reply.status == 500
    assert "t.py has no function f" in reply.json["error"]["message"]


def test_servers_that_requests_bring_along_need_the_profiles_leave(talk: Talk) -> None:
    ephemeral = {
        "type": "ephemeral_mcp",
        "server_label": "mine",
        "server_url": "http://127.0.0.1:9/mcp",
    }
    reply = talk.ask(integrations=[ephemeral])
    assert reply.status == 403
    assert "server.mcp.ephemeral" in reply.json["error"]["message"]
    talk.shop.server = {"ephemeral": ["mcp.example.com"]}
    reply = talk.ask(integrations=[ephemeral])
    assert reply.status == 403
    assert "127.0.0.1:9 is none of the hosts" in reply.json["error"]["message"]
    talk.shop.server = {"ephemeral": True}
    for url in ("http://127.0.0.1:9/mcp", "https://10.1.2.3/", "http://example.com/", "file:/x"):
        reply = talk.ask(integrations=[{**ephemeral, "server_url": url}])
        assert reply.status == 403, url
        assert reply.json["error"]["code"] == "outbound_refused"


@pytest.mark.parametrize("name", ["Host", "mcp-session-id", "a b", "é"])
def test_headers_that_are_none_of_the_clients_are_refused(talk: Talk, name: str) -> None:
    talk.shop.server = {"ephemeral": True}
    server = {"server_label": "mine", "server_url": "https://example.com/", "headers": {name: "x"}}
    reply = talk.ask(integrations=[{"type": "ephemeral_mcp", **server}])
    assert (reply.status, reply.json["error"]["param"]) == (400, "integrations[0].headers")


def test_a_key_needs_the_scope_tools(talk: Talk) -> None:
    keys = {"reader": {"inference"}, "maker": {"inference", "tools"}}
    talk.door = Door(
        keys=tuple(Key(name, Secret(name), frozenset(scopes)) for name, scopes in keys.items())
    )
    assert talk.ask(say("Hi."), key="reader").status == 200
    refused = talk.ask(say("Hi."), key="reader", integrations=["mcp/time"])
    assert refused.status == 403
    assert "'tools'" in refused.json["error"]["message"]
    assert talk.ask(say("Hi."), key="maker", integrations=["mcp/time"]).status == 200
