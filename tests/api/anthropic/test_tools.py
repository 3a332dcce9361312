"""Thoughts and calls through Anthropic's own client, from a model that says what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.chat.events import (
    MessageDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from lmrun.chat.request import Request, Thinking, ToolChoice
from tests.api.anthropic.told import ToldPool
from tests.support.http import listening, serving_app

TEMPLATE = (
    "{% for m in messages %}{{ m.content }}{% endfor %}{% if enable_thinking %}<think>{% endif %}"
)
TOOLS: list[ToolParam] = [
    {
        "name": "get_weather",
        "description": "Tells the weather.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
ASK: dict[str, Any] = {"model": "assistant", "max_tokens": 100, "tools": TOOLS}
QUESTION: list[MessageParam] = [{"role": "user", "content": "Is it raining in Rome?"}]
CALLS = (
    ReasoningDelta("They want "),
    ReasoningDelta("the weather."),
    MessageDelta("Let me look."),
    ToolCallStart(0, "call00001", "get_weather"),
    ToolCallArguments(0, '{"city": '),
    ToolCallArguments(0, '"Rome"}'),
    ToolCallStart(1, "call00002", "get_weather"),
    ToolCallArguments(1, '{"city": "Ostia"}'),
)


@pytest.fixture(scope="module")
def _told() -> Iterator[tuple[ToldPool, anthropic.Anthropic]]:
    pool = ToldPool(chat_template=TEMPLATE)
    with (
        listening(serving_app(build_app(pool, Door))) as port,
        anthropic.Anthropic(base_url=port.url, api_key="any", max_retries=0) as client,
    ):
        yield pool, client


@pytest.fixture
def pool(_told: tuple[ToldPool, anthropic.Anthropic]) -> ToldPool:
    """It makes two calls."""
    _told[0].prompts.clear()
    _told[0].say(*CALLS, reason="toolCalls")
    return _told[0]


@pytest.fixture
def client(_told: tuple[ToldPool, anthropic.Anthropic]) -> anthropic.Anthropic:
    return _told[1]


def prompt_of(pool: ToldPool) -> Request:
    prompt = pool.prompts[-1]
    assert isinstance(prompt, Request)
    return prompt


def test_calls_and_thoughts_are_blocks(pool: ToldPool, client: anthropic.Anthropic) -> None:
    message = client.messages.create(messages=QUESTION, **ASK)
    thought, text, first, second = message.content
    assert isinstance(thought, anthropic.types.ThinkingBlock)
    assert thought.thinking == "They want the weather."
    assert isinstance(text, anthropic.types.TextBlock)
    assert text.text == "Let me look."
    assert isinstance(first, anthropic.types.ToolUseBlock)
    assert (first.id, first.name, first.input) == ("call00001", "get_weather", {"city": "Rome"})
    assert isinstance(second, anthropic.types.ToolUseBlock)
    assert second.input == {"city": "Ostia"}
    assert message.stop_reason == "tool_use"
    assert message.usage.cache_read_input_tokens == 4
    assert message.usage.input_tokens == 5


def test_a_stream_gives_the_same_blocks(pool: ToldPool, client: anthropic.Anthropic) -> None:
    whole = client.messages.create(messages=QUESTION, **ASK)
    with client.messages.stream(messages=QUESTION, **ASK) as stream:
        inputs = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    assert inputs == ['{"city": ', '"Rome"}', '{"city": "Ostia"}']
    assert [block.to_dict() for block in message.content] == [
        block.to_dict() for block in whole.content
    ]
    assert message.usage.cache_read_input_tokens == 4


def test_what_the_model_is_asked_is_what_the_request_says(
    pool: ToldPool, client: anthropic.Anthropic
) -> None:
    client.messages.create(
        messages=QUESTION,
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "disabled"},
        **ASK,
    )
    prompt = prompt_of(pool)
    assert [tool.name for tool in prompt.tools] == ["get_weather"]
    assert prompt.tool_choice == ToolChoice("required", parallel=False)
    assert prompt.thinking == Thinking(enabled=False)
    client.messages.create(
        messages=QUESTION, thinking={"type": "enabled", "budget_tokens": 1024}, **ASK
    )
    assert prompt_of(pool).thinking == Thinking(enabled=True)


def test_an_answer_and_its_results_go_back_as_the_client_has_them(
    pool: ToldPool, client: anthropic.Anthropic
) -> None:
    message = client.messages.create(messages=QUESTION, **ASK)
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "dry"}
        for block in message.content
        if block.type == "tool_use"
    ]
    pool.say(MessageDelta("No."))
    answer = client.messages.create(
        messages=[*QUESTION, message.to_param(), {"role": "user", "content": results}], **ASK
    )
    assert answer.stop_reason == "end_turn"
    _, assistant, first, second = prompt_of(pool).messages
    assert assistant.reasoning == "They want the weather."
    assert [call.arguments for call in assistant.tool_calls] == [
        '{"city": "Rome"}',
        '{"city": "Ostia"}',
    ]
    assert (first.role, first.tool_call_id, first.name) == ("tool", "call00001", "get_weather")
    assert (second.role, second.tool_call_id, second.content) == ("tool", "call00002", "dry")


def test_thoughts_can_be_left_out(pool: ToldPool, client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        messages=QUESTION, thinking={"type": "adaptive", "display": "omitted"}, **ASK
    )
    thought = message.content[0]
    assert isinstance(thought, anthropic.types.ThinkingBlock)
    assert (thought.thinking, bool(thought.signature)) == ("", True)


def test_a_call_that_is_cut_off_ends_with_max_tokens(
    pool: ToldPool, client: anthropic.Anthropic
) -> None:
    pool.say(*CALLS[:5], reason="maxPredictedTokensReached")
    whole = client.messages.create(messages=QUESTION, **ASK)
    assert whole.stop_reason == "max_tokens"
    with client.messages.stream(messages=QUESTION, **ASK) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[-1].to_dict()["input"] == whole.content[-1].to_dict()["input"] == {}


def test_the_clients_tool_runner_runs_a_tool(pool: ToldPool, client: anthropic.Anthropic) -> None:
    asked: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Tells the weather."""
        asked.append(city)
        pool.say(MessageDelta("No."))
        return "dry"

    runner = client.beta.messages.tool_runner(
        model="assistant",
        max_tokens=100,
        tools=[get_weather],
        messages=[{"role": "user", "content": "Is it raining in Rome?"}],
    )
    last = runner.until_done()
    assert asked == ["Rome", "Ostia"]
    assert last.content[0].type == "text"
    assert last.content[0].text == "No."
