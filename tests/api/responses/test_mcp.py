"""MCP tools of /v1/responses, by OpenAI's own client: what the server runs, what it asks about, and
what it leaves to the client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.api.responses.routes import make_responses_routes
from lmrun.chat.events import Event, ReasoningDelta, ToolCallArguments, ToolCallStart
from lmrun.chat.messages import Message, ToolCall
from lmrun.chat.request import Request
from lmrun.errors import ContextOverflow, McpNotApproved
from lmrun.settings.secret import Secret
from lmrun.store.conversations import Conversations
from tests.api.responses.conftest import Client
from tests.support.http import listening, serving_app, wait_until
from tests.support.rounds import RoundsPool, call, say
from tests.support.tool_shop import TimeTool, ToolShop

TIME: dict[str, Any] = {"type": "mcp", "server_label": "time", "require_approval": "never"}
ASKING: dict[str, Any] = {"type": "mcp", "server_label": "time"}
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": None}
ROME = '{"zone": "Rome"}'
KEYS = {"reader": frozenset({"inference"}), "maker": frozenset({"inference", "tools"})}


@dataclass
class Talk(Client):
    """A server whose model says what it is told to, and has the tools it is given."""

    pool: RoundsPool
    shop: ToolShop
    door: Door = field(default_factory=Door)

    def say(self, *rounds: tuple[Event, ...]) -> Talk:
        self.pool.rounds.clear()
        self.pool.rounds.extend(rounds)
        return self

    def with_key(self, name: str) -> Client:
        return Client(self.port, self.client.with_options(api_key=name))

    def lock(self) -> None:
        """From now on a key is asked for."""
        self.door = Door(keys=tuple(Key(it, Secret(it), scopes) for it, scopes in KEYS.items()))


@pytest.fixture(scope="module")
def _talk() -> Iterator[Talk]:
    pool, shop, conversations, talks = RoundsPool(), ToolShop(), Conversations(), list[Talk]()
    routes = make_responses_routes(pool, conversations, shop)
    app = build_app(pool, lambda: talks[0].door, routes)
    with (
        listening(serving_app(app)) as port,
        openai.OpenAI(base_url=f"{port.url}/v1", api_key="any", max_retries=0) as client,
    ):
        talks.append(Talk(port, client, pool, shop))
        yield talks[0]
    conversations.close()


@pytest.fixture
def talk(_talk: Talk) -> Talk:
    """As new: the server `time` has the tools `now` and `later`."""
    _talk.door = Door()
    _talk.shop.tools = [TimeTool(), TimeTool("later")]
    _talk.shop.server, _talk.shop.failure = {}, None
    _talk.pool.prompts.clear()
    return _talk


def kinds(response: Response) -> list[str]:
    return [item.type for item in response.output]


def prompt(talk: Talk, number: int = -1) -> Request:
    request = talk.pool.prompts[number]
    assert isinstance(request, Request)
    return request


def approve(response: Response, **answer: Any) -> list[dict[str, Any]]:
    """Answers to all questions of a response."""
    asked = [item for item in response.output if item.type == "mcp_approval_request"]
    assert asked, response.output
    return [
        {"type": "mcp_approval_response", "approval_request_id": it.id, "approve": True, **answer}
        for it in asked
    ]


def test_tools_are_listed_run_and_shown(talk: Talk) -> None:
    talk.say((ReasoningDelta("Hm."), *call("time__now", ROME, before="Let me see.")), say("Noon."))
    response = talk.ask("What time is it?", tools=[TIME])
    assert kinds(response) == ["mcp_list_tools", "reasoning", "message", "mcp_call", "message"]
    listed, _, _, called, _ = response.output
    assert listed.type == "mcp_list_tools"
    assert (listed.server_label, [tool.name for tool in listed.tools]) == ("time", ["now", "later"])
    assert called.type == "mcp_call"
    assert (called.server_label, called.name, called.arguments) == ("time", "now", ROME)
    assert (called.status, called.output, called.error) == ("completed", "12:00 in Rome", None)
    assert called.approval_request_id is None
    assert response.output_text == "Let me see.Noon."
    assert response.status == "completed"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (20, 10)
    assert response.tools[0].to_dict() == {
        "type": "mcp",
        "server_label": "time",
        "server_url": None,
        "allowed_tools": None,
        "require_approval": "never",
    }


def test_a_stream_says_the_same_in_the_references_order(talk: Talk) -> None:
    rounds = (call("time__now", ROME, before="Let me see."), say("Noon."))
    events = talk.say(*rounds).stream("What time is it?", tools=[TIME])
    added, done = "response.output_item.added", "response.output_item.done"
    text = [
        added,
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        done,
    ]
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        added,
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        done,
        *text,
        added,
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
        done,
        *text,
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    whole = events[-1].response
    finished = [event.item for event in events if event.type == done]
    assert [item.to_dict() for item in finished] == [item.to_dict() for item in whole.output]
    places = [event.output_index for event in events if event.type == added]
    assert places == list(range(4))


def test_two_calls_of_one_answer_run_side_by_side(talk: Talk) -> None:
    both = (
        ToolCallStart(0, "c1", "time__now"),
        ToolCallArguments(0, ROME),
        ToolCallStart(1, "c2", "time__later"),
        ToolCallArguments(1, '{"zone": "Oslo"}'),
    )
    response = talk.say(both, say("Done.")).ask("hi", tools=[TIME])
    assert kinds(response) == ["mcp_list_tools", "mcp_call", "mcp_call", "message"]
    assert [it.output for it in response.output if it.type == "mcp_call"] == [
        "12:00 in Rome",
        "12:00 in Oslo",
    ]


def test_without_a_word_every_call_waits_for_approval(talk: Talk) -> None:
    tool = TimeTool()
    talk.shop.tools = [tool]
    first = talk.say(call("time__now", ROME, before="May I?")).ask("hi", tools=[ASKING])
    assert kinds(first) == ["mcp_list_tools", "message", "mcp_approval_request"]
    asked = first.output[-1]
    assert asked.type == "mcp_approval_request"
    assert (asked.server_label, asked.name, asked.arguments) == ("time", "now", ROME)
    assert (first.status, tool.calls) == ("completed", [])
    assert first.usage is not None
    assert first.usage.output_tokens == 5
    second = talk.say(say("Noon.")).ask(
        approve(first), tools=[ASKING], previous_response_id=first.id
    )
    assert kinds(second) == ["mcp_call", "message"]
    made = second.output[0]
    assert made.type == "mcp_call"
    assert (made.output, made.approval_request_id) == ("12:00 in Rome", asked.id)
    assert tool.calls == [{"zone": "Rome"}]
    assert prompt(talk).messages == (
        Message("user", "hi"),
        Message("assistant", "May I?", tool_calls=(ToolCall(asked.id, "time__now", ROME),)),
        Message("tool", "12:00 in Rome", tool_call_id=asked.id, name="time__now"),
    )
    third = talk.say(say("Yes.")).ask("Sure?", tools=[ASKING], previous_response_id=second.id)
    assert kinds(third) == ["message"]
    assert tool.calls == [{"zone": "Rome"}], "an approval is for one call"
    assert prompt(talk).messages[-2:] == (Message("assistant", "Noon."), Message("user", "Sure?"))
    called = [it for it in prompt(talk).messages if it.tool_calls]
    assert [it.content for it in called] == ["May I?"]


def test_the_items_can_be_sent_back_instead(talk: Talk) -> None:
    first = talk.say(call("time__now", ROME)).ask("hi", tools=[ASKING], store=False)
    items = [{"role": "user", "content": "hi"}, *(it.to_dict() for it in first.output)]
    second = talk.say(say("Noon.")).ask([*items, *approve(first)], tools=[ASKING], store=False)
    assert kinds(second) == ["mcp_call", "message"]
    listed = talk.client.responses.input_items.list
    stored = talk.say(say("Hi.")).ask([*items, *approve(first)], tools=[ASKING])
    types = [item.type for item in listed(stored.id, order="asc")]
    assert types == ["message", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response"]


def test_a_call_that_is_declined_is_not_made(talk: Talk) -> None:
    tool = TimeTool()
    talk.shop.tools = [tool]
    first = talk.say(call("time__now", ROME)).ask("hi", tools=[ASKING])
    answers = approve(first, approve=False, reason="Too late.")
    second = talk.say(say("Sorry.")).ask(answers, tools=[ASKING], previous_response_id=first.id)
    made = second.output[0]
    assert made.type == "mcp_call"
    assert (made.status, made.output) == ("failed", None)
    assert made.error is not None
    assert made.error.type == "mcp_tool_execution_error"
    assert made.error.content == [{"type": "text", "text": "denied: Too late."}]
    assert tool.calls == []
    assert prompt(talk).messages[-1].content == "denied: Too late."


def test_a_question_that_nobody_answers_is_a_no(talk: Talk) -> None:
    first = talk.say(call("time__now", ROME)).ask("hi", tools=[ASKING])
    talk.say(say("Fine.")).ask("Never mind.", tools=[ASKING], previous_response_id=first.id)
    assert prompt(talk).messages[-2].content == "denied: nobody has approved of it"


def test_approval_may_be_left_out_for_single_tools(talk: Talk) -> None:
    some = {**ASKING, "require_approval": {"never": {"tool_names": ["later"]}}}
    both = (
        ToolCallStart(0, "c1", "time__now"),
        ToolCallArguments(0, ROME),
        ToolCallStart(1, "c2", "time__later"),
        ToolCallArguments(1, ROME),
    )
    first = talk.say(both).ask("hi", tools=[some])
    assert sorted(kinds(first)[1:]) == ["mcp_approval_request", "mcp_call"]
    second = talk.say(say("Done.")).ask(approve(first), tools=[some], previous_response_id=first.id)
    assert kinds(second) == ["mcp_call", "message"]
    names = [call.name for it in prompt(talk).messages for call in it.tool_calls]
    assert names == ["time__later", "time__now"]


def test_never_counts_only_where_the_policy_allows(talk: Talk) -> None:
    tool = TimeTool(policy="ask")
    talk.shop.tools = [tool]
    denied = talk.say(call("time__now", ROME), say("Sorry.")).ask("hi", tools=[TIME])
    assert kinds(denied) == ["mcp_list_tools", "mcp_call", "message"]
    assert denied.output[1].to_dict()["status"] == "failed"
    talk.lock()
    maker = talk.with_key("maker")
    talk.say(call("time__now", ROME))
    first = maker.ask("hi", tools=[TIME])
    assert kinds(first) == ["mcp_list_tools", "mcp_approval_request"]
    assert tool.calls == []
    talk.say(say("Noon."))
    second = maker.ask(approve(first), tools=[TIME], previous_response_id=first.id)
    assert kinds(second) == ["mcp_call", "message"]
    assert tool.calls == [{"zone": "Rome"}]
    talk.shop.tools = [TimeTool(policy="deny")]
    talk.say(say("Sorry."))
    third = maker.ask(approve(first), tools=[TIME], previous_response_id=first.id)
    assert third.output[0].to_dict()["status"] == "failed"


def test_a_clients_function_ends_the_run(talk: Talk) -> None:
    both = (
        ToolCallStart(0, "c1", "look_up"),
        ToolCallArguments(0, '{"what": 1}'),
        ToolCallStart(1, "c2", "time__now"),
        ToolCallArguments(1, ROME),
    )
    tools = [LOOK_UP, TIME]
    first = talk.say(both).ask("hi", tools=tools)
    assert kinds(first) == ["mcp_list_tools", "function_call", "mcp_call"]
    function = first.output[1]
    assert function.type == "function_call"
    assert (function.name, function.arguments) == ("look_up", '{"what": 1}')
    assert [tool.name for tool in prompt(talk).tools] == ["look_up", "time__now", "time__later"]
    output = {"type": "function_call_output", "call_id": function.call_id, "output": "42"}
    second = talk.say(say("42 at noon.")).ask([output], tools=tools, previous_response_id=first.id)
    assert second.output_text == "42 at noon."
    results = {it.name: it.content for it in prompt(talk).messages if it.role == "tool"}
    assert results == {"look_up": "42", "time__now": "12:00 in Rome"}


def test_arguments_of_a_clients_function_are_the_clients_affair(talk: Talk) -> None:
    response = talk.say(call("look_up", "[1]")).ask("hi", tools=[LOOK_UP, TIME])
    function = response.output[-1]
    assert function.type == "function_call"
    assert function.arguments == "[1]"


def test_limits_hold_for_all_rounds_together(talk: Talk) -> None:
    """Each round writes 5 tokens, as the pool counts."""
    calling = call("time__now", ROME)
    response = talk.say(calling, calling, say("Noon.")).ask(
        "hi", tools=[TIME], max_output_tokens=10
    )
    assert (response.status, kinds(response)[1:]) == ("incomplete", ["mcp_call", "mcp_call"])
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    response = talk.say(calling, calling, say("Noon.")).ask("hi", tools=[TIME], max_tool_calls=1)
    states = [it.status for it in response.output if it.type == "mcp_call"]
    assert states == ["completed", "failed"]
    assert response.output_text == "Noon."


@pytest.mark.parametrize(
    ("choice", "offered", "mode"),
    [
        ({"type": "mcp", "server_label": "time", "name": "later"}, 3, "required"),
        ("none", 3, "none"),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "mcp", "server_label": "time"}],
            },
            2,
            "auto",
        ),
    ],
)
def test_a_choice_may_name_a_servers_tools(
    talk: Talk, choice: Any, offered: int, mode: str
) -> None:
    talk.say(say("Hi.")).ask("hi", tools=[LOOK_UP, TIME], tool_choice=choice)
    request = prompt(talk)
    assert (len(request.tools), request.tool_choice.mode) == (offered, mode)
    wanted = "time__later" if mode == "required" else None
    assert request.tool_choice.name == wanted


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([{**TIME, "server_label": "space"}], "no MCP server 'space'"),
        ([TIME, TIME], "'time' is there already"),
        ([{**TIME, "allowed_tools": ["then"]}], "no tool 'then'"),
        ([{**TIME, "authorization": "x"}], "`authorization` needs `server_url`"),
        ([{**TIME, "require_approval": {"never": {"read_only": True}}}], "not supported"),
        ([{**LOOK_UP, "name": "time__now"}, TIME], "a function is called 'time__now'"),
        ([{**TIME, "command": ["sh"]}], "unknown"),
    ],
)
def test_wrong_servers_are_refused_by_name(talk: Talk, tools: list[Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        talk.ask("hi", tools=tools)
    assert talk.pool.prompts == []


def test_a_server_that_is_not_approved_and_one_that_is_brought_along_are_refused(
    talk: Talk,
) -> None:
    with pytest.raises(openai.PermissionDeniedError, match=r"server\.mcp\.ephemeral"):
        talk.ask("hi", tools=[{**TIME, "server_url": "https://example.com/mcp"}])
    talk.shop.failure = McpNotApproved("Nobody has agreed to start it.")
    with pytest.raises(openai.PermissionDeniedError, match="Nobody has agreed"):
        talk.stream("hi", tools=[TIME])


def test_an_answer_to_no_question_is_refused(talk: Talk) -> None:
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    with pytest.raises(openai.BadRequestError, match="'mcpr_1' is not there"):
        talk.ask([answer], tools=[TIME])
    first = talk.say(call("time__now", ROME)).ask("hi", tools=[ASKING])
    twice = [*approve(first), *approve(first)]
    with pytest.raises(openai.BadRequestError, match="has been answered"):
        talk.ask(twice, tools=[ASKING], previous_response_id=first.id)
    with pytest.raises(openai.BadRequestError, match="its MCP server is not among them"):
        talk.ask(approve(first), previous_response_id=first.id)


def test_a_key_needs_the_scope_tools(talk: Talk) -> None:
    talk.lock()
    with pytest.raises(openai.PermissionDeniedError, match="'tools'"):
        talk.with_key("reader").ask("hi", tools=[TIME])
    talk.say(say("Hi."))
    assert talk.with_key("maker").ask("hi", tools=[TIME]).output_text == "Hi."


def test_tools_count_among_the_tokens_of_a_prompt(talk: Talk) -> None:
    given: Any = {"model": "assistant", "input": "hi", "tools": [TIME]}
    counted = talk.client.responses.input_tokens.count(**given)
    assert counted.input_tokens > 0
    assert [tool.name for tool in prompt(talk).tools] == ["time__now", "time__later"]


def test_a_failure_before_the_first_word_is_one_of_the_request(talk: Talk) -> None:
    talk.pool.fail_at, talk.pool.failure = "prefill", ContextOverflow("too long", param="prompt")
    try:
        with pytest.raises(openai.BadRequestError) as refused:
            talk.stream("hi", tools=[TIME])
    finally:
        talk.pool.fail_at = None
    assert refused.value.param == "input"


def test_a_run_without_an_end_fails_its_response(talk: Talk) -> None:
    """The same call again and again: the fourth is one too many."""
    events = talk.say(*[call("time__now", ROME)] * 9).stream("hi", tools=[TIME])
    assert events[-1].type == "response.failed"
    failed = events[-1].response
    assert kinds(failed) == ["mcp_list_tools", *["mcp_call"] * 3]
    assert failed.error.to_dict()["type"] == "invalid_request_error"
    with pytest.raises(openai.UnprocessableEntityError, match="identical_calls"):
        talk.say(*[call("time__now", ROME)] * 9).ask("hi", tools=[TIME])


def test_a_client_that_leaves_ends_tool_and_model(talk: Talk) -> None:
    tool = TimeTool(never=True)
    talk.shop.tools = [tool]
    talk.say(call("time__now", ROME))
    given: Any = {"model": "assistant", "input": "hi", "tools": [TIME], "stream": True}
    stream: Any = talk.client.responses.create(**given)
    for event in stream:
        if event.type == "response.mcp_call.in_progress":
            break
    stream.close()
    wait_until(lambda: tool.cancelled == 1 and talk.pool.is_idle)
