"""/apply-template on a real port: the prompt that a chat would send, of a real model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from tests.api.openai.bodies import USER
from tests.support.http import Port, Reply, listening
from tests.support.instances import describe, make_spec, open_pool, script
from tests.support.smollm2 import smollm2_path

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    folder: Path = tmp_path_factory.mktemp("models")

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        specs = (
            describe(smollm2_path(), "smollm2"),
            make_spec(folder, script({"pieces": ["a"]}, chat_template=None), identifier="plain"),
        )
        async with open_pool(*specs) as pool:
            yield build_app(pool, Door)

    with listening(make_app) as port:
        yield port


def apply(port: Port, **body: Any) -> Reply:
    given = {"model": "smollm2", "messages": [USER]}
    return port.ask("POST", "/apply-template", {**given, **body})


def count_prompt(port: Port, **body: Any) -> int:
    """Tokens of the prompt that a chat sends."""
    given = {"model": "smollm2", "messages": [USER], "max_tokens": 1}
    answer = port.ask("POST", "/v1/chat/completions", {**given, **body})
    return int(answer.json["usage"]["prompt_tokens"])


def count_tokens(port: Port, text: str) -> int:
    found = port.ask("POST", "/tokenize", {"model": "smollm2", "content": text})
    return len(found.json["tokens"])


def test_the_prompt_ends_where_the_answer_begins(port: Port) -> None:
    answer = apply(port).json
    assert answer.keys() == {"prompt"}
    assert answer["prompt"].endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": [{"role": "system", "content": "Be brief."}, USER]},
        {"tools": [WEATHER]},
        {"tools": [WEATHER], "tool_choice": "none"},
        {"tools": [WEATHER], "parallel_tool_calls": False},
    ],
)
def test_it_is_the_prompt_that_a_chat_sends(port: Port, body: dict[str, Any]) -> None:
    reply = apply(port, **body)
    assert reply.status == 200, reply.body
    assert count_tokens(port, reply.json["prompt"]) == count_prompt(port, **body)


def test_tools_are_in_it_unless_none_may_be_called(port: Port) -> None:
    assert "Tells the weather." in apply(port, tools=[WEATHER]).json["prompt"]
    without = apply(port, tools=[WEATHER], tool_choice="none").json["prompt"]
    assert without == apply(port).json["prompt"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"temperature": 1}, "temperature"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"chat_template": "x"}, "chat_template"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"chat_template_kwargs": {"no_such": 1}}, "chat_template_kwargs"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "a"},
                            {
                                "type": "image_url",
                                "image_url": {"url": "data:image/png;base64,AA=="},
                            },
                        ],
                    }
                ]
            },
            "messages[0].content[1].image_url.url",
        ),
    ],
)
def test_what_is_wrong_is_named(port: Port, body: dict[str, Any], param: str) -> None:
    reply = apply(port, **body)
    assert reply.status == 400, reply.body
    assert str(reply.json["error"]["param"]).startswith(param)


def test_a_model_without_a_template_says_so(port: Port) -> None:
    reply = apply(port, model="plain")
    assert (reply.status, reply.code) == (400, "template_failed")
    assert "chat template" in reply.json["error"]["message"]


def test_an_unknown_model_is_not_found(port: Port) -> None:
    assert apply(port, model="other").status == 404
