"""Agents behind every dialect: a client names one as its model, and the server runs its tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lmrun.api.agents.pool import AgentPool
from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.api.mcp.models import list_models
from lmrun.chat.events import ReasoningDelta
from lmrun.chat.request import Request
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.reconcile.status import InstanceState
from lmrun.settings.secret import Secret
from tests.api.conftest import house_routes
from tests.support.http import Port, Reply, listening, serving_app, wait_until
from tests.support.rounds import RoundsPool, StandInWorkshop, call, make_agents, say
from tests.support.stand_in_house import StandInHouse

KEY = "k" * 40
MESSAGES = [{"role": "user", "content": "What is 2 + 3?"}]
ADD = call("add", '{"a": 2, "b": 3}', before="Let me see.")


@dataclass
class Served:
    """A server whose pool has agents. `door` may be replaced at any time."""

    port: Port
    pool: RoundsPool
    workshop: StandInWorkshop
    agents: AgentPool
    door: Door = field(default_factory=Door)


@pytest.fixture(scope="module")
def module_server() -> Iterator[Served]:
    pool, workshop = RoundsPool(), StandInWorkshop()
    agents = AgentPool(pool, workshop)
    doors: list[Callable[[], Door]] = []
    house = StandInHouse(agents)  # type: ignore[arg-type]  # any pool will do
    app = build_app(agents, lambda: doors[0](), house_routes(house))
    with listening(serving_app(app)) as port:
        served = Served(port, pool, workshop, agents)
        doors.append(lambda: served.door)
        yield served


@pytest.fixture
def served(module_server: Served) -> Served:
    """The module's server, as new."""
    module_server.door = Door()
    pool, workshop = module_server.pool, module_server.workshop
    pool.rounds.clear()
    pool.forever, pool.stop_string, pool.stop_at = say("done"), None, None
    for log in (pool.prompts, pool.predictions, pool.reached, workshop.gate.wishes):
        log.clear()
    workshop.add.called = workshop.add.cancelled = workshop.risky.called = 0
    workshop.add.never = False
    return module_server


@dataclass(frozen=True)
class Dialect:
    """How one is asked, and where its answer has what."""

    path: str
    body: dict[str, Any]
    text: Callable[[Any], str]
    reasoning: Callable[[Any], str]
    usage: Callable[[Any], tuple[int, int]]


def find_text(blocks: list[dict[str, Any]], kind: str, name: str) -> str:
    return "".join(block[name] for block in blocks if block["type"] == kind)


CHAT = Dialect(
    "/v1/chat/completions",
    {"messages": MESSAGES},
    lambda body: str(body["choices"][0]["message"]["content"]),
    lambda body: body["choices"][0]["message"].get("reasoning_content", ""),
    lambda body: (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]),
)
RESPONSES = Dialect(
    "/v1/responses",
    {"input": "What is 2 + 3?"},
    lambda body: "".join(
        find_text(item["content"], "output_text", "text")
        for item in body["output"]
        if item["type"] == "message"
    ),
    lambda body: "".join(
        find_text(item["content"], "reasoning_text", "text")
        for item in body["output"]
        if item["type"] == "reasoning"
    ),
    lambda body: (body["usage"]["input_tokens"], body["usage"]["output_tokens"]),
)
ANTHROPIC = Dialect(
    "/v1/messages",
    {"messages": MESSAGES, "max_tokens": 50},
    lambda body: find_text(body["content"], "text", "text"),
    lambda body: find_text(body["content"], "thinking", "thinking"),
    lambda body: (
        body["usage"]["input_tokens"] + (body["usage"]["cache_read_input_tokens"] or 0),
        body["usage"]["output_tokens"],
    ),
)
LMSTUDIO = Dialect(
    "/api/v1/chat",
    {"input": "What is 2 + 3?", "store": False},
    lambda body: find_text(body["output"], "message", "content"),
    lambda body: find_text(body["output"], "reasoning", "content"),
    lambda body: (body["stats"]["input_tokens"], body["stats"]["total_output_tokens"]),
)
DIALECTS = [CHAT, RESPONSES, ANTHROPIC, LMSTUDIO]
of_dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.path)


def ask(
    served: Served, dialect: Dialect, agent: str = "helper", *, steps: bool = False, **more: Any
) -> Reply:
    headers = {"x_lmrun_steps": "true"} if steps else {}
    body = {"model": agent, **dialect.body, **more}
    return served.port.ask("POST", dialect.path, body, **headers)


def read_chunks(reply: Reply) -> list[Any]:
    lines = reply.body.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


@of_dialects
def test_the_client_reads_the_last_rounds_text(served: Served, dialect: Dialect) -> None:
    served.pool.rounds += [ADD, say("It is 5.")]
    reply = ask(served, dialect)
    assert reply.status == 200, reply.body
    assert (dialect.text(reply.json), dialect.reasoning(reply.json)) == ("It is 5.", "")
    assert (reply.json.get("model") or reply.json["model_instance_id"]) == "helper"
    assert served.workshop.add.called == 1
    first, second = served.pool.prompts
    assert isinstance(first, Request) and isinstance(second, Request)
    assert [tool.name for tool in first.tools] == ["add", "risky"]
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "tool"]
    assert second.messages[-1].content == "5"


@of_dialects
def test_usage_is_that_of_all_rounds(served: Served, dialect: Dialect) -> None:
    served.pool.rounds += [ADD, say("It is 5.")]
    assert dialect.usage(ask(served, dialect).json) == (20, 10)


@of_dialects
def test_steps_are_reasoning_where_they_are_asked_for(served: Served, dialect: Dialect) -> None:
    served.pool.rounds += [ADD, (ReasoningDelta("So."), *say("It is 5."))]
    answer = ask(served, dialect, steps=True).json
    assert dialect.text(answer) == "It is 5."
    told = 'Let me see.\nadd({"a": 2, "b": 3}) → 5\nSo.'
    assert "".join(dialect.reasoning(answer).splitlines()) == "".join(told.splitlines())


@of_dialects
@pytest.mark.parametrize("steps", [False, True])
def test_streams_say_the_same(served: Served, dialect: Dialect, steps: bool) -> None:
    served.pool.rounds += [ADD, say("It is 5.")]
    reply = ask(served, dialect, steps=steps, stream=True)
    assert reply.status == 200
    text = reply.body.decode()
    assert "It is 5." in text
    assert ("Let me see." in text) is steps
    assert served.workshop.add.called == 1


def test_a_streams_chunks_are_a_chats(served: Served) -> None:
    served.pool.rounds += [ADD, say("It is 5.")]
    chunks = read_chunks(ask(served, CHAT, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "It is 5."
    assert not any("tool_calls" in delta for delta in deltas)
    assert chunks[-1]["usage"]["completion_tokens"] == 10


@pytest.mark.parametrize("value", ["yes", "1", ""])
def test_a_steps_header_that_says_neither_is_refused(served: Served, value: str) -> None:
    reply = served.port.ask(
        "POST", CHAT.path, {"model": "helper", **CHAT.body}, x_lmrun_steps=value
    )
    assert (reply.status, reply.json["error"]["param"]) == (400, "x-lmrun-steps")


def test_what_would_have_to_be_asked_is_denied(served: Served) -> None:
    served.pool.rounds += [call("risky", '{"a": 1, "b": 1}'), say("I may not.")]
    assert CHAT.text(ask(served, CHAT).json) == "I may not."
    assert served.workshop.risky.called == 0
    last = served.pool.prompts[-1]
    assert isinstance(last, Request)
    assert last.messages[-1].content == "denied: nobody is there to ask"


@of_dialects
def test_the_log_learns_who_called(served: Served, dialect: Dialect) -> None:
    served.door = Door(keys=(make_key("inference", "tools"),))
    served.pool.rounds += [ADD, say("It is 5.")]
    body = {"model": "helper", **dialect.body}
    assert served.port.ask("POST", dialect.path, body, x_api_key=KEY).status == 200
    (wish,) = served.workshop.gate.wishes
    door = {"/v1/responses": "responses", "/v1/messages": "messages"}.get(dialect.path, "chat")
    caller = wish.caller
    assert (caller.door, caller.key, caller.agent, caller.model) == (
        door,
        "ci",
        "helper",
        "assistant",
    )


def make_key(*scopes: str) -> Key:
    return Key("ci", Secret(KEY), frozenset(scopes))


@of_dialects
def test_a_key_needs_the_scope_of_tools(served: Served, dialect: Dialect) -> None:
    served.door = Door(keys=(make_key("inference"),))
    body = {"model": "helper", **dialect.body}
    reply = served.port.ask("POST", dialect.path, body, x_api_key=KEY)
    assert (reply.status, reply.code) == (403, "forbidden")
    assert "'tools'" in reply.json["error"]["message"]
    assert served.pool.reached == [], "no model is held, or loaded, for somebody who may not"
    for scopes in (("inference", "tools"), ("admin",)):
        served.door = Door(keys=(make_key(*scopes),))
        assert served.port.ask("POST", dialect.path, body, x_api_key=KEY).status == 200


def test_an_agent_without_tools_needs_no_scope_of_tools(served: Served) -> None:
    served.door = Door(keys=(make_key("inference"),))
    body = {"model": "talker", **CHAT.body}
    assert served.port.ask("POST", CHAT.path, body, x_api_key=KEY).status == 200


def test_clients_of_the_mcp_server_read_what_an_agent_is_for(served: Served) -> None:
    described = {"helper": AgentConfig(model="assistant", description="Adds.")}
    listed = list_models(served.agents, described).models
    about = {it.identifier: it.description for it in listed}
    assert (about["helper"], about["talker"]) == ("Adds.", None)


@pytest.mark.parametrize(
    "fields", [{"context": ("mcp/docs/note://a",)}, {"preset": "mcp/docs/review"}]
)
def test_an_agent_that_reads_what_mcp_servers_give_needs_the_scope_of_tools(
    served: Served, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    reader = AgentConfig(model="assistant", **fields)
    monkeypatch.setitem(served.workshop.agents, "reader", reader)
    served.door = Door(keys=(make_key("inference"),))
    body = {"model": "reader", **CHAT.body}
    reply = served.port.ask("POST", CHAT.path, body, x_api_key=KEY)
    assert (reply.status, reply.code) == (403, "forbidden")
    assert served.pool.reached == []
    served.door = Door(keys=(make_key("inference", "tools"),))
    reply = served.port.ask("POST", CHAT.path, body, x_api_key=KEY)
    assert (reply.status, reply.code) == (404, "mcp_server_not_found")


TOOL = {"name": "f", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT.path, CHAT.body | {"tools": [{"type": "function", "function": TOOL}]}, "tools"),
        (CHAT.path, CHAT.body | {"n": 2}, "n"),
        (RESPONSES.path, RESPONSES.body | {"tools": [{"type": "function", **TOOL}]}, "tools"),
        (
            ANTHROPIC.path,
            ANTHROPIC.body | {"tools": [{"name": "f", "input_schema": TOOL["parameters"]}]},
            "tools",
        ),
        ("/v1/completions", {"prompt": "2 + 3 ="}, "model"),
        ("/v1/embeddings", {"input": "2 + 3"}, "model"),
        ("/rerank", {"query": "a", "documents": ["b"]}, "model"),
    ],
)
def test_what_an_agent_cannot_honour_is_refused_by_name(
    served: Served, path: str, body: dict[str, Any], param: str
) -> None:
    reply = served.port.ask("POST", path, {"model": "helper", **body})
    assert reply.status == 400, reply.body
    error = reply.json["error"]
    assert (error.get("param") or error["details"]["param"]) == param
    assert served.pool.prompts == []


def test_no_choice_of_tools_means_that_none_is_offered(served: Served) -> None:
    assert ask(served, CHAT, tool_choice="none").status == 200
    (prompt,) = served.pool.prompts
    assert isinstance(prompt, Request)
    assert prompt.tools == ()


def test_a_request_goes_before_the_agents_preset(served: Served) -> None:
    ask(served, CHAT, temperature=0.7)
    system = [{"role": "system", "content": "Be long."}, *MESSAGES]
    ask(served, CHAT, messages=system)
    first, second = served.pool.predictions
    assert (first.temperature, first.top_k) == (0.7, 7)
    assert (second.temperature, second.top_k) == (0.1, 7)
    prompts = [prompt for prompt in served.pool.prompts if isinstance(prompt, Request)]
    assert [prompt.messages[0].content for prompt in prompts] == ["Be curt.", "Be long."]
    assert [len(prompt.messages) for prompt in prompts] == [2, 2]


def test_a_stop_string_is_the_last_rounds(served: Served) -> None:
    served.pool.stop_string = "END"
    reply = ask(served, ANTHROPIC, stop_sequences=["END"])
    assert (reply.json["stop_reason"], reply.json["stop_sequence"]) == ("stop_sequence", "END")


@of_dialects
def test_a_budget_that_is_used_up_has_its_own_status(served: Served, dialect: Dialect) -> None:
    served.pool.forever = ADD
    reply = ask(served, dialect)
    assert (reply.status, reply.code) == (422, "agent_budget_exceeded"), reply.body
    assert served.workshop.add.called == 3, "the fourth identical call is one too many"
    assert served.pool.is_idle


@of_dialects
def test_a_stream_says_that_its_budget_is_used_up(served: Served, dialect: Dialect) -> None:
    served.pool.forever = ADD
    reply = ask(served, dialect, stream=True)
    assert "The run has ended before it was done" in reply.body.decode()


def test_a_round_without_tools_is_the_only_one_of_an_agent_with_one(served: Served) -> None:
    served.pool.rounds += [say("2 + 3 = 5")]
    assert CHAT.text(ask(served, CHAT, "hasty").json) == "2 + 3 = 5"
    (prompt,) = served.pool.prompts
    assert isinstance(prompt, Request)
    assert prompt.tools == ()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_tool_and_gives_the_model_back(
    served: Served, stream: bool
) -> None:
    served.workshop.add.never = True
    served.pool.rounds += [ADD]
    body = json.dumps({"model": "helper", "stream": stream, **CHAT.body}).encode()
    head = f"POST {CHAT.path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port.number}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with served.port.connect() as sock:
        sock.sendall(head.encode() + body)
        wait_until(lambda: served.workshop.add.called == 1)
        assert not served.pool.is_idle
    wait_until(lambda: served.workshop.add.cancelled == 1)
    wait_until(lambda: served.pool.is_idle)


def test_an_agent_without_tools_streams_while_it_writes(served: Served) -> None:
    served.pool.rounds += [say("First.")]
    served.pool.stop_at = "mid-stream"
    body = json.dumps({"model": "talker", "stream": True, **CHAT.body}).encode()
    head = f"POST {CHAT.path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port.number}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with served.port.connect() as sock:
        sock.sendall(head.encode() + body)
        heard = b""
        while b"First." not in heard:
            heard += sock.recv(4096)
        assert not served.pool.is_idle
    wait_until(lambda: served.pool.is_idle)


def test_lists_have_agents_beside_models(served: Served) -> None:
    listed = served.port.ask("GET", "/v1/models").json["data"]
    assert [model["id"] for model in listed] == ["assistant", "hasty", "helper", "talker"]
    assert served.port.ask("GET", "/v1/models/helper").json["id"] == "helper"
    rows = served.port.ask("GET", "/api/v0/models").json["data"]
    assert {(row["id"], row["state"]) for row in rows} >= {
        ("assistant", "loaded"),
        ("helper", "loaded"),
    }


def test_an_agent_is_as_ready_as_its_model(served: Served) -> None:
    states: list[InstanceState] = ["loading", "ready"]
    for state in states:
        served.pool.instances["assistant"].state = state
        assert served.agents.instances["helper"].state == state


def test_an_agent_that_is_being_changed_is_not_ready(served: Served) -> None:
    """The profile has lost the agent's preset, and the agent is about to go, too."""
    served.workshop.agents["helper"] = AgentConfig(model="assistant", preset="gone")
    try:
        reply = ask(served, CHAT)
        assert (reply.status, reply.code) == (503, "model_not_ready")
        listed = served.port.ask("GET", "/v1/models").json["data"]
        assert "helper" not in {model["id"] for model in listed}
    finally:
        served.workshop.agents |= make_agents()


def test_who_is_not_there_is_told_of_agents(served: Served) -> None:
    reply = ask(served, CHAT, "helpr")
    assert (reply.status, reply.code) == (404, "model_not_found")
    assert "Agents are: hasty, helper, talker." in reply.json["error"]["message"]


def test_tokens_are_those_of_its_first_round(served: Served) -> None:
    """Its system prompt and its tools are in them."""
    path = "/v1/messages/count_tokens"
    assert served.port.ask("POST", path, {"model": "helper", "messages": MESSAGES}).status == 200
    template = served.port.ask("POST", "/apply-template", {"model": "helper", "messages": MESSAGES})
    assert template.json == {"prompt": "rendered"}
    for prompt in served.pool.prompts:
        assert isinstance(prompt, Request)
        assert prompt.messages[0].content == "Be curt."
        assert [tool.name for tool in prompt.tools] == ["add", "risky"]


def test_its_models_tokenizer_is_its_own(served: Served) -> None:
    reply = served.port.ask("POST", "/tokenize", {"model": "helper", "content": "ab"})
    assert reply.json["tokens"] == [97, 98]
