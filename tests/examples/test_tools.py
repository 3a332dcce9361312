"""`examples/tools.yaml`, applied as it stands: the model calls a tool and reports its result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.server import Server, free_port, serving
from tests.support.smollm2 import smollm2_path

EXAMPLE = Path(__file__).parents[2] / "examples" / "tools.yaml"
DELIVERY: Any = {
    "type": "function",
    "function": {
        "name": "get_delivery_date",
        "description": "Get the delivery date for a customer's order",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string", "description": "The order's number."}},
            "required": ["order_id"],
        },
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On a free port, with the file of the package that other tests have fetched already."""
    home = tmp_path_factory.mktemp("home")
    changes = {
        "version": 1,
        "include": [str(EXAMPLE)],
        "server": {"port": free_port()},
        "models": {"smollm2-135m-tools": {"source": f"file:{smollm2_path()}"}},
    }
    profile = home / "p.yaml"
    profile.write_text(json.dumps(changes))
    with serving(home, profile) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_example_s_model_calls_a_tool_and_reports_its_result(client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "user", "content": "Give me the delivery date and time for order number 1017"}
    ]

    def ask() -> Any:
        answer = client.chat.completions.create(
            model="assistant", messages=messages, tools=[DELIVERY]
        )
        return answer.choices[0]

    choice = ask()
    assert choice.finish_reason == "tool_calls", choice
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_delivery_date"
    assert json.loads(call.function.arguments) == {"order_id": "1017"}

    result = '{"delivery_date": "2026-12-24"}'
    messages += [
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": result},
    ]
    choice = ask()
    assert choice.finish_reason == "stop"
    assert "2026-12-24" in choice.message.content


def test_the_example_s_model_answers_without_tools_where_none_is_needed(
    client: openai.OpenAI,
) -> None:
    thanks: Any = [{"role": "user", "content": "Thank you!"}]
    answer = client.chat.completions.create(model="assistant", messages=thanks, tools=[DELIVERY])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content
