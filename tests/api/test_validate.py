"""Errors of requests name the parameter as the client sent it, whatever tried to read it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from lmrun.api.act.bodies import ActBody
from lmrun.api.anthropic.requests import MessagesRequest
from lmrun.api.openai.requests import ChatRequest
from lmrun.api.responses.requests.bodies import ResponseRequest
from lmrun.api.validate import validate_request
from lmrun.errors import InvalidParameter, RequestError
from lmrun.settings.base import Settings


class Circle(Settings):
    kind: Literal["circle"]
    radius: float


class Square(Settings):
    kind: Literal["square"]
    side: float


class Text(Settings):
    """Its form has the name of its field."""

    kind: Literal["text"]
    text: str


class Drawing(Settings):
    shape: Annotated[Circle | Square | Text, Field(discriminator="kind")] | None = None
    any_shape: Literal["none"] | Circle | Square | None = None
    weights: dict[int, float] | None = None
    sizes: tuple[int, ...] = Field((), strict=False)


def refusal(**fields: Any) -> tuple[str | None, str]:
    with pytest.raises(InvalidParameter) as caught:
        validate_request(Drawing, fields)
    return caught.value.param, str(caught.value)


def test_the_form_that_a_value_was_taken_for_is_no_part_of_the_name() -> None:
    assert refusal(shape={"kind": "circle"}) == (
        "shape.radius",
        "`shape.radius` is required.",
    )
    assert refusal(shape={"kind": "text"})[0] == "shape.text"
    assert refusal(shape={"kind": "text", "text": 1})[0] == "shape.text"
    assert refusal(shape={"kind": "text", "text": "x", "size": 1})[0] == "shape.size"
    param, message = refusal(shape={"kind": "circle", "radius": "x"})
    assert (param, message) == (
        "shape.radius",
        '`shape.radius`: input should be a valid number, got "x".',
    )


def test_of_several_forms_none_is_named_and_what_they_have_in_common_is_said_once() -> None:
    param, message = refusal(any_shape={})
    assert param == "any_shape"
    assert message.count("`any_shape.kind` is required") == 1
    assert not {"Circle", "Square", "literal"} & set(message.replace("`", ".").split("."))


def test_a_value_that_says_no_known_form_hears_which_there_are() -> None:
    assert refusal(shape={}) == ("shape.kind", "`shape.kind` is required.")
    assert refusal(shape={"kind": "line"}) == (
        "shape.kind",
        "`shape.kind`: input should be 'circle', 'square' or 'text', got \"line\".",
    )


def test_what_should_have_been_an_object_is_told_so_in_json_s_words() -> None:
    assert refusal(shape=5) == ("shape", "`shape`: input should be a valid object, got 5.")
    assert "instance" not in refusal(any_shape=5)[1]


def test_places_in_arrays_are_named() -> None:
    assert refusal(sizes=[1, "x"])[0] == "sizes[1]"


def test_what_is_wrong_with_the_whole_body_is_no_parameters_fault() -> None:
    with pytest.raises(InvalidParameter) as caught:
        validate_request(ActBody, {"prompt": "Hi", "model": "m", "agent": "a"})
    assert caught.value.param is None
    assert str(caught.value) == "It is done by a `model` or by an `agent`."


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"chat_template": "x"},
            "`chat_template`: not supported. "
            "Templates come from the model or the profile, never from a request.",
        ),
        ({"store": True}, "`store`: not supported; only false is. Nothing is stored."),
        ({"audio": {}}, "`audio`: not supported."),
        (
            {"structured": {"type": "choice", "choices": [1]}},
            "`structured.choices[0]`: input should be a valid string, got 1.",
        ),
    ],
)
def test_a_refusal_says_why_and_nothing_else(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        validate_request(
            ChatRequest, {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
        )
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("kind", "sent", "meant"),
    [
        (ChatRequest, "n_predict", "max_tokens"),
        (ChatRequest, "grammar", "structured"),
        (ChatRequest, "json_schema", "response_format"),
        (ChatRequest, "prompt", "messages"),
        (ChatRequest, "temprature", "temperature"),
        (ResponseRequest, "messages", "input"),
        (ResponseRequest, "system", "instructions"),
        (MessagesRequest, "stop", "stop_sequences"),
        (MessagesRequest, "format", "output_config"),
    ],
)
def test_another_api_s_word_for_a_parameter_is_understood(
    kind: type[BaseModel], sent: str, meant: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        validate_request(kind, {sent: 1})
    assert str(caught.value) == f"Unknown parameter: `{sent}` (did you mean `{meant}`?)."
