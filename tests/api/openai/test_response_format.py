"""What an answer must look like, as OpenAI's API and ours say it."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.api.openai.convert import to_prediction
from lmrun.api.openai.requests import ChatRequest, CompletionRequest
from lmrun.errors import InvalidParameter
from lmrun.settings.structured import (
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    ChoiceOutput,
    GrammarOutput,
    JsonOutput,
    RegexOutput,
)
from tests.api.conftest import Served
from tests.api.openai.bodies import CHAT, COMPLETION, chat, completion, refusal

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def schema_format(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, **more}}


def nest(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonOutput(type="json")),
        (schema_format(SCHEMA), JsonOutput(type="json", json_schema=SCHEMA)),
        (schema_format(True), JsonOutput(type="json", json_schema=True)),
        (schema_format(SCHEMA, strict=True), JsonOutput(type="json", json_schema=SCHEMA)),
        (schema_format(SCHEMA, strict="true"), JsonOutput(type="json", json_schema=SCHEMA)),
        (schema_format(SCHEMA, strict=False), JsonOutput(type="json", json_schema=SCHEMA)),
        (schema_format(SCHEMA, description="x"), JsonOutput(type="json", json_schema=SCHEMA)),
    ],
)
def test_a_response_format_becomes_what_the_answer_must_look_like(
    value: Any, output: JsonOutput | None
) -> None:
    assert to_prediction(chat(response_format=value)).structured == output


def test_free_text_is_a_choice_over_what_a_preset_says() -> None:
    prediction = to_prediction(chat(response_format={"type": "text"}))
    assert prediction.model_fields_set == {"structured"}


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ({"type": "json", "json_schema": SCHEMA}, JsonOutput(type="json", json_schema=SCHEMA)),
        ({"type": "regex", "regex": "a+"}, RegexOutput(type="regex", regex="a+")),
        (
            {"type": "choice", "choices": ["yes", "no"]},
            ChoiceOutput(type="choice", choices=("yes", "no")),
        ),
        (
            {"type": "gbnf", "grammar": 'root ::= "a"', "triggers": ["<x>"]},
            GrammarOutput(type="gbnf", grammar='root ::= "a"', triggers=("<x>",)),
        ),
        (
            {"type": "lark", "grammar": 'start: "a"'},
            GrammarOutput(type="lark", grammar='start: "a"'),
        ),
    ],
)
def test_both_endpoints_take_the_house_s_own_words(value: Any, output: Any) -> None:
    assert to_prediction(chat(structured=value)).structured == output
    assert to_prediction(completion(structured=value)).structured == output


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("json", "response_format"),
        ({}, "response_format.type"),
        ({"type": "xml"}, "response_format.type"),
        ({"type": "text", "x": 1}, "response_format.x"),
        ({"type": "json_schema"}, "response_format"),
        ({"type": "json_object", "json_schema": {"schema": {}}}, "response_format"),
        ({"type": "json_schema", "json_schema": {}}, "response_format.json_schema.schema"),
        (schema_format("x"), "response_format.json_schema.schema"),
        (schema_format({}, strict="yes"), "response_format.json_schema.strict"),
        (schema_format({}, nmae=1), "response_format.json_schema.nmae"),
    ],
)
def test_a_wrong_response_format_is_refused_by_name(value: Any, param: str) -> None:
    error = refusal(ChatRequest, {**CHAT, "response_format": value})
    assert isinstance(error, InvalidParameter)
    assert str(error.param).startswith(param)


@pytest.mark.parametrize(
    "schema",
    [
        nest(MAX_SCHEMA_DEPTH + 1),
        {"description": "x" * MAX_SCHEMA_BYTES},
        {"const": 2**63},
        {"const": "\ud800"},
        {"properties": {"\udfff": {}}},
    ],
)
def test_a_schema_that_no_engine_should_see_is_refused_at_the_door(schema: Any) -> None:
    with pytest.raises(InvalidParameter) as caught:
        to_prediction(chat(response_format=schema_format(schema)))
    assert caught.value.param == "response_format"
    inner = refusal(
        CompletionRequest, {**COMPLETION, "structured": {"type": "json", "json_schema": schema}}
    )
    assert str(inner.param).startswith("structured")


def test_two_ways_to_say_it_are_one_too_many() -> None:
    with pytest.raises(InvalidParameter) as caught:
        to_prediction(
            chat(response_format={"type": "text"}, structured={"type": "regex", "regex": "a"})
        )
    assert caught.value.param == "structured"


@pytest.mark.parametrize("name", ["response_format", "structured"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_enforced_is_a_400_that_names_the_field(
    served: Served, name: str, stream: bool
) -> None:
    """The engine says `structured`, whatever the request called it."""
    value = schema_format({}) if name == "response_format" else {"type": "json"}
    served.pool.fail_at = "prefill"
    served.pool.failure = InvalidParameter("It cannot be enforced.", param="structured")
    body = {**CHAT, "model": "assistant", "stream": stream, name: value}
    reply = served.port.ask("POST", "/v1/chat/completions", body)
    assert reply.status == 400
    assert f'"param":"{name}"' in reply.body.decode()
