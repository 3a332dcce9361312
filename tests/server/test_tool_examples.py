"""The tool use of LM Studio's documentation, end to end: a real model calls real tools, through
OpenAI's client, as the documentation's scripts do it. The model is SmolLM2 with the adapter of
`examples/models`; `tool_choice` is left to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.profiles import write_profile
from tests.support.server import Server, serving
from tests.support.smollm2 import smollm2_path

MODEL = "lmstudio-community/qwen2.5-7b-instruct"
"""As the documentation calls it; here it names a smaller one."""

ADAPTER = Path(__file__).parents[2] / "examples" / "models" / "smollm2-135m-tools-lora.gguf"


def make_tool(tool: str, about: str, **properties: str) -> Any:
    """All its parameters are required strings."""
    parameters = {
        "type": "object",
        "properties": {
            key: {"type": "string", "description": text} for key, text in properties.items()
        },
        "required": list(properties),
    }
    function = {"name": tool, "description": about, "parameters": parameters}
    return {"type": "function", "function": function}


SAY_HELLO = make_tool("say_hello", "Says hello to someone", name="The person's name")
DELIVERY_DATE = make_tool(
    "get_delivery_date",
    "Get the delivery date for a customer's order. Call this whenever you need to know the "
    "delivery date, for example when a customer asks 'Where is my package'",
    order_id="The customer's order ID.",
)
CURRENT_TIME = make_tool("get_current_time", "Get the current time, only if asked")
OPEN_URL = make_tool(
    "open_safe_url", "Open a URL in the browser if it's deemed safe", url="The URL to open"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    model = {
        "source": f"file:{smollm2_path()}",
        "load": {"context_length": 2048, "adapters": [{"source": f"file:{ADAPTER}"}]},
        "prompt_template": {"name": "qwen2.5"},
        "preset": "greedy",
    }
    presets = {"greedy": {"prediction": {"temperature": 0, "repeat_penalty": 1, "max_tokens": 200}}}
    profile = write_profile(home / "p.yaml", {MODEL: model}, presets=presets)
    with serving(home, profile) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="lm-studio") as client:
        yield client


def ask_whole(client: openai.OpenAI, messages: list[Any], **more: Any) -> dict[str, Any]:
    """The assistant's message, as it is sent back."""
    answer = client.chat.completions.create(model=MODEL, messages=messages, **more)
    (choice,) = answer.choices
    calls = choice.message.tool_calls
    assert choice.finish_reason == ("tool_calls" if calls else "stop")
    message: dict[str, Any] = choice.message.model_dump(exclude_none=True)
    return message


def ask_streaming(client: openai.OpenAI, messages: list[Any], **more: Any) -> dict[str, Any]:
    """The same out of the chunks, collected as the documentation's streaming example does."""
    text = ""
    calls: list[dict[str, Any]] = []
    stream = client.chat.completions.create(model=MODEL, messages=messages, stream=True, **more)
    for chunk in stream:
        delta = chunk.choices[0].delta
        text += delta.content or ""
        for part in delta.tool_calls or ():
            if len(calls) <= part.index:
                assert part.function and part.id and part.function.name, "id and name come first"
                function = {"name": "", "arguments": ""}
                calls.append({"id": "", "type": "function", "function": function})
            call = calls[part.index]
            call["id"] += part.id or ""
            call["function"]["name"] += (part.function and part.function.name) or ""
            call["function"]["arguments"] += (part.function and part.function.arguments) or ""
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    return message | ({"tool_calls": calls} if calls else {})


Ask = Callable[..., dict[str, Any]]
WAYS = pytest.mark.parametrize("ask", [ask_whole, ask_streaming], ids=["whole", "streaming"])


def read_calls(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    functions = [call["function"] for call in message["tool_calls"]]
    return [(each["name"], json.loads(each["arguments"])) for each in functions]


def answer_calls(message: dict[str, Any], results: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages with the results of a message's calls."""
    return [
        {
            "role": "tool",
            "content": json.dumps(results[call["function"]["name"]]),
            "tool_call_id": call["id"],
        }
        for call in message["tool_calls"]
    ]


@WAYS
def test_single_turn(client: openai.OpenAI, ask: Ask) -> None:
    messages = [{"role": "user", "content": "Can you say hello to Bob the Builder?"}]
    message = ask(client, messages, tools=[SAY_HELLO])
    assert read_calls(message) == [("say_hello", {"name": "Bob the Builder"})]
    assert message.get("content") is None


@WAYS
def test_multi_turn_tells_the_delivery_date(client: openai.OpenAI, ask: Ask) -> None:
    messages: list[dict[str, Any]] = [
        {
            "role": "system",
            "content": "You are a helpful customer support assistant. Use the supplied tools to "
            "assist the user.",
        },
        {"role": "user", "content": "Give me the delivery date and time for order number 1017"},
    ]
    asked = ask(client, messages, tools=[DELIVERY_DATE])
    assert read_calls(asked) == [("get_delivery_date", {"order_id": "1017"})]
    result = {"order_id": "1017", "delivery_date": "2026-12-24 13:03:17"}
    messages += [asked, *answer_calls(asked, {"get_delivery_date": result})]
    told = ask(client, messages)
    assert "2026-12-24" in told["content"]
    assert "tool_calls" not in told


@WAYS
def test_an_agent_chooses_among_tools_or_none(client: openai.OpenAI, ask: Ask) -> None:
    tools = [OPEN_URL, CURRENT_TIME]
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What time is it?"}]
    asked = ask(client, messages, tools=tools)
    assert read_calls(asked) == [("get_current_time", {})]
    messages += [asked, *answer_calls(asked, {"get_current_time": {"time": "14:11:40"}})]
    told = ask(client, messages)
    assert "14:11:40" in told["content"]
    messages += [told, {"role": "user", "content": "Thank you!"}]
    thanked = ask(client, messages, tools=tools)
    assert "tool_calls" not in thanked
    assert "welcome" in thanked["content"]


@WAYS
def test_two_calls_in_one_round(client: openai.OpenAI, ask: Ask) -> None:
    weather = make_tool("get_weather", "Get the weather of a city", city="The city")
    question = "What is the weather in Paris and the delivery date of order 55?"
    asked = ask(client, [{"role": "user", "content": question}], tools=[weather, DELIVERY_DATE])
    assert read_calls(asked) == [
        ("get_weather", {"city": "Paris"}),
        ("get_delivery_date", {"order_id": "55"}),
    ]


@WAYS
def test_no_parallel_calls_where_none_are_wanted(client: openai.OpenAI, ask: Ask) -> None:
    weather = make_tool("get_weather", "Get the weather of a city", city="The city")
    question = "What is the weather in Paris and the delivery date of order 55?"
    messages = [{"role": "user", "content": question}]
    tools = [weather, DELIVERY_DATE]
    asked = ask(client, messages, tools=tools, parallel_tool_calls=False)
    assert read_calls(asked) == [("get_weather", {"city": "Paris"})]


@WAYS
def test_none_means_no_call(client: openai.OpenAI, ask: Ask) -> None:
    messages = [{"role": "user", "content": "Can you say hello to Bob the Builder?"}]
    message = ask(client, messages, tools=[SAY_HELLO], tool_choice="none")
    assert "tool_calls" not in message
    assert message["content"]


@WAYS
def test_a_named_tool_is_called_whatever_was_asked(client: openai.OpenAI, ask: Ask) -> None:
    messages = [{"role": "user", "content": "Thank you!"}]
    choice = {"type": "function", "function": {"name": "say_hello"}}
    message = ask(client, messages, tools=[SAY_HELLO, DELIVERY_DATE], tool_choice=choice)
    ((name, arguments),) = read_calls(message)
    assert name == "say_hello"
    assert list(arguments) == ["name"]


def test_a_call_that_is_cut_off_ends_with_length(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Can you say hello to Bob the Builder?"}]
    whole = client.chat.completions.create(model=MODEL, messages=messages, tools=[SAY_HELLO])
    assert whole.usage is not None
    for tokens in range(1, whole.usage.completion_tokens, 4):
        answer = client.chat.completions.create(
            model=MODEL, messages=messages, tools=[SAY_HELLO], max_tokens=tokens
        )
        assert answer.choices[0].finish_reason in ("length", "tool_calls"), tokens
        assert answer.usage is not None
        assert answer.usage.completion_tokens <= tokens


def test_products_are_searched_with_arguments_of_the_schema(client: openai.OpenAI) -> None:
    """The documentation's curl example asks for more wits than this model has: it is made to call,
    and the arguments satisfy the schema whatever it thinks."""
    parameters = {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "Search terms or product name"},
            "category": {"type": "string", "enum": ["electronics", "clothing", "home", "outdoor"]},
            "max_price": {"type": "number", "description": "Maximum price in dollars"},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    function = {
        "name": "search_products",
        "description": "Search the product catalog by various criteria.",
        "parameters": parameters,
    }
    question = "What dell products do you have under $50 in electronics?"
    message = ask_whole(
        client,
        [{"role": "user", "content": question}],
        tools=[{"type": "function", "function": function}],
        tool_choice="required",
    )
    ((name, arguments),) = read_calls(message)
    assert name == "search_products"
    assert isinstance(arguments["query"], str)
    assert arguments.keys() <= parameters["properties"].keys()  # type: ignore[attr-defined]
