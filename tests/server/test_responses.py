"""The Responses API with a real model: its schema holds, its conversations outlive the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import openai

from tests.support.profiles import write_profile
from tests.support.server import serving
from tests.support.smollm2 import smollm2_path

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer", "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def write_smol(home: Path) -> Path:
    model = {
        "source": f"file:{smollm2_path()}",
        "load": {"context_length": 1024, "flash_attention": False},
        "preset": "brief",
    }
    presets = {"brief": {"prediction": {"max_tokens": 60, "temperature": 0}}}
    return write_profile(home / "p.yaml", {"smol": model}, presets=presets)


def open_client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def test_a_conversation_goes_on_after_the_server_was_started_again(tmp_path: Path) -> None:
    profile = write_smol(tmp_path)
    question: list[Any] = [
        {"role": "user", "content": "My name is Ada. Please say hello to me."},
    ]
    with serving(tmp_path, profile) as server, open_client(server.address) as client:
        first = client.responses.create(model="smol", input=question)
        assert first.status == "completed"

    assert (tmp_path / "conversations.db").stat().st_mode & 0o777 == 0o600
    with serving(tmp_path, profile) as server, open_client(server.address) as client:
        assert client.responses.retrieve(first.id).to_dict() == first.to_dict()
        again = "What is my name?"
        second = client.responses.create(model="smol", input=again, previous_response_id=first.id)
        spelled_out: list[Any] = [
            *question,
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": again},
        ]
        same = client.responses.create(model="smol", input=spelled_out, store=False)
        assert second.output_text == same.output_text
        assert "Ada" in second.output_text
        assert second.usage is not None
        assert same.usage is not None
        assert second.usage.input_tokens == same.usage.input_tokens
        _check_schema(client)
        _check_forced_call(client)
        _check_log_probabilities(client)


def _check_schema(client: openai.OpenAI) -> None:
    """Whole and streamed alike, at a temperature at which the model alone would not keep to it."""
    given: dict[str, Any] = {
        "model": "smol",
        "input": "Invent a person.",
        "text": {"format": {"type": "json_schema", "name": "person", "schema": PERSON}},
        "temperature": 1.5,
        "extra_body": {"seed": 7},
    }
    whole = client.responses.create(**given, max_output_tokens=100)
    jsonschema.validate(json.loads(whole.output_text), PERSON)
    with client.responses.stream(**given, max_output_tokens=100) as stream:
        text = "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        )
    assert text == whole.output_text


def _check_forced_call(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model="smol",
        input="How will the weather be?",
        tools=[{"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        temperature=1,
        max_output_tokens=200,
    )
    (call,) = answer.output
    assert call.type == "function_call"
    assert (call.name, call.status) == ("weather", "completed")
    jsonschema.validate(json.loads(call.arguments), WEATHER)


def _check_log_probabilities(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model="smol",
        input="Say hi.",
        include=["message.output_text.logprobs"],
        top_logprobs=3,
        max_output_tokens=4,
    )
    (message,) = answer.output
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert message.content[0].logprobs is not None
    pieces = [bytes(each.bytes) for each in message.content[0].logprobs]
    assert b"".join(pieces).startswith(answer.output_text.encode())
    assert all(len(each.top_logprobs) == 3 for each in message.content[0].logprobs)
