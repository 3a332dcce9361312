"""Anthropic's client and a real model: text, a call that is forced, an answer of a given form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import jsonschema
import pytest
from anthropic.types import MessageParam, ToolParam

from tests.support.profiles import write_profile
from tests.support.server import Server, serving
from tests.support.smollm2 import smollm2_path

PARIS: list[MessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
TOOLS: list[ToolParam] = [
    {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "input_schema": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": False,
        },
    },
    {
        "name": "say_nothing",
        "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
    },
]
SCHEMAS: dict[str, Any] = {tool["name"]: tool["input_schema"] for tool in TOOLS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    model = {
        "source": f"file:{smollm2_path()}",
        "load": {"context_length": 2048, "flash_attention": False},
    }
    with serving(home, write_profile(home / "p.yaml", {"smol": model})) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.address, api_key="any", max_retries=0) as client:
        yield client


def ask(client: anthropic.Anthropic, **parameters: Any) -> Any:
    given = {"model": "smol", "max_tokens": 24, "messages": PARIS, **parameters}
    return client.messages.create(extra_body={"temperature": 0}, **given)


def test_it_knows_the_capital_of_france(client: anthropic.Anthropic) -> None:
    message = ask(client)
    assert "Paris" in message.content[0].text
    assert message.stop_reason in ("end_turn", "max_tokens")
    streamed = "".join(
        event.delta.text
        for event in ask(client, stream=True)
        if event.type == "content_block_delta"
    )
    assert streamed == message.content[0].text


def test_a_second_turn_finds_the_first_in_the_cache(client: anthropic.Anthropic) -> None:
    first = ask(client)
    turns = [*PARIS, first.to_param(), {"role": "user", "content": "And of Italy?"}]
    usage = ask(client, messages=turns).usage
    count = client.messages.count_tokens(model="smol", messages=turns)
    assert usage.cache_read_input_tokens > 20
    assert usage.cache_read_input_tokens + usage.input_tokens == count.input_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}], ids=lambda it: it["type"]
)
def test_a_forced_call_satisfies_its_schema(
    client: anthropic.Anthropic, choice: Any, stream: bool
) -> None:
    given: dict[str, Any] = {
        "model": "smol",
        "max_tokens": 200,
        "messages": PARIS,
        "tools": TOOLS,
        "tool_choice": {**choice, "disable_parallel_tool_use": True},
    }
    if stream:
        with client.messages.stream(**given) as events:
            message: Any = events.get_final_message()
    else:
        message = client.messages.create(**given)
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    if "name" in choice:
        assert call.name == choice["name"]
    jsonschema.validate(call.input, SCHEMAS[call.name])


def test_an_answer_has_the_form_that_was_asked_for(client: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"capital": {"type": "string", "maxLength": 20}},
        "required": ["capital"],
        "additionalProperties": False,
    }
    message = ask(
        client,
        max_tokens=100,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    jsonschema.validate(json.loads(message.content[0].text), schema)


def test_a_schema_that_cannot_be_enforced_is_refused_by_its_name_here(
    client: anthropic.Anthropic,
) -> None:
    schema = {"$ref": "https://example.com/elsewhere"}
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["details"]["param"] == "output_config.format"


def test_which_stop_sequence_ended_it_is_told(client: anthropic.Anthropic) -> None:
    message = ask(client, stop_sequences=["Rome", "Paris"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "Paris")


def test_nothing_but_the_prompt_is_computed_for_no_tokens(client: anthropic.Anthropic) -> None:
    question: list[MessageParam] = [{"role": "user", "content": "Who wrote Faust? " * 8}]
    message = ask(client, messages=question, max_tokens=0)
    assert (message.content, message.usage.output_tokens) == ([], 0)
    assert ask(client, messages=question, max_tokens=1).usage.cache_read_input_tokens > 20
