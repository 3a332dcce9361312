"""Every number of a request, within its bounds and beyond: tables made from the types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from lmrun.api.body import parse_json
from lmrun.api.openai.completions import count_choices
from lmrun.api.openai.convert import to_prediction
from lmrun.api.openai.requests import CompletionRequest, GenerationRequest
from lmrun.api.validate import validate_request
from lmrun.errors import InvalidParameter, RequestError
from lmrun.settings.prediction import PredictionConfig
from tests.api.openai.bodies import KINDS, refusal


def numeric_fields(kind: type[BaseModel]) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, JSON type, schema) of every parameter that is a number."""
    return [
        (name, option["type"], option)
        for name, option in options_of(kind)
        if option.get("type") in ("number", "integer")
    ]


def options_of(kind: type[BaseModel]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each way in which a parameter may be given."""
    for name, schema in kind.model_json_schema()["properties"].items():
        for option in schema.get("anyOf", [schema]):
            yield name, option


def places_of_numbers(kind: type[BaseModel]) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Every place for a number, in a parameter or one level inside, and what puts one there."""
    for name, option in options_of(kind):
        if option.get("type") in ("number", "integer"):
            yield name, lambda number: number
        if option.get("items", {}).get("type") in ("number", "integer"):
            yield name, lambda number: [number]
        inside = option.get("additionalProperties")
        if isinstance(inside, dict) and inside.get("type") in ("number", "integer"):
            yield name, lambda number: {"7": number}


NUMBERS = [(kind, base, *field) for kind, base in KINDS for field in numeric_fields(kind)]
PLACES = [
    (kind, base, *place)
    for kind, base in KINDS
    for place in places_of_numbers(kind)
    if place[0] != "prompt"  # text may stand where its token ids do
]


def test_the_tables_of_numbers_hold_every_kind_of_place() -> None:
    assert {"temperature", "max_tokens", "max_completion_tokens", "seed", "n", "mirostat"} <= {
        field[2] for field in NUMBERS
    }
    assert {place[2] for place in PLACES} - {field[2] for field in NUMBERS} == {
        "stop_token_ids",
        "logit_bias",
        "adapters",
    }


@pytest.mark.parametrize(
    "value", [-1, 0, 2**31, 2**63, 1e308, float("nan"), "1", True], ids=lambda value: repr(value)
)
@pytest.mark.parametrize(
    ("kind", "base", "name", "place"), PLACES, ids=[f"{p[0].__name__}-{p[2]}" for p in PLACES]
)
def test_every_number_is_honoured_or_refused_by_name(
    kind: type[GenerationRequest],
    base: dict[str, Any],
    name: str,
    place: Callable[[Any], Any],
    value: Any,
) -> None:
    try:
        request = validate_request(kind, {**base, name: place(value)})
        prediction = to_prediction(request)
        if isinstance(request, CompletionRequest):
            count_choices(request, 1)
    except RequestError as error:
        assert error.param is not None
        assert error.param.startswith(name)
        return
    assert not isinstance(value, str | bool)
    taken = getattr(request, name)
    assert list_numbers(taken) == [value]
    if name in PredictionConfig.model_fields:
        assert getattr(prediction, name) == taken


def list_numbers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, tuple) else [value]


@pytest.mark.parametrize(("kind", "base", "name", "type_", "schema"), NUMBERS)
@pytest.mark.parametrize(
    "text",
    [
        *('"1"', "true", "false", "[]", "[1]", "{}", '"hot"', '""'),
        *("1e308", "-1e308", "1e309", "1e999", "-1e999"),
        *("9223372036854775808", "-9223372036854775809", "-2147483648", "-2"),
    ],
)
def test_a_wrong_number_is_refused_by_name(
    kind: type[GenerationRequest],
    base: dict[str, Any],
    name: str,
    type_: str,
    schema: dict[str, Any],
    text: str,
) -> None:
    value = parse_json(text.encode())
    if value == -2 and schema.get("minimum") == -2:
        value = -2.0001
    error = refusal(kind, {**base, name: value})
    assert isinstance(error, InvalidParameter)
    assert error.param == name
    assert f"`{name}`" in str(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("kind", "base", "name", "type_", "schema"), NUMBERS)
def test_what_is_no_finite_number_is_refused_by_name(
    kind: type[GenerationRequest],
    base: dict[str, Any],
    name: str,
    type_: str,
    schema: dict[str, Any],
    value: float,
) -> None:
    assert refusal(kind, {**base, name: value}).param == name


@pytest.mark.parametrize(("kind", "base", "name", "type_", "schema"), NUMBERS)
def test_a_number_is_taken_up_to_its_bounds_and_no_further(
    kind: type[GenerationRequest],
    base: dict[str, Any],
    name: str,
    type_: str,
    schema: dict[str, Any],
) -> None:
    step = 1 if type_ == "integer" else 0.001
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + step)
    high = schema["maximum"] if "maximum" in schema else schema["exclusiveMaximum"] - step
    for value in (low, high):
        assert getattr(validate_request(kind, {**base, name: value}), name) == value
    for value in (low - step, high + step):
        assert refusal(kind, {**base, name: value}).param == name


@pytest.mark.parametrize(("kind", "base", "name", "type_", "schema"), NUMBERS)
def test_an_integer_takes_no_fraction(
    kind: type[GenerationRequest],
    base: dict[str, Any],
    name: str,
    type_: str,
    schema: dict[str, Any],
) -> None:
    if type_ == "integer":
        for value in (1.5, 1.0):
            assert refusal(kind, {**base, name: value}).param == name
    else:
        assert validate_request(kind, {**base, name: 1})


@pytest.mark.parametrize(
    # A seed's bounds are OpenAI's; it is folded. `structured` is one type for both.
    "name",
    sorted(
        (set(PredictionConfig.model_fields) & set(GenerationRequest.model_fields))
        - {"seed", "structured"}
    ),
)
def test_a_request_and_a_preset_have_the_same_bounds(name: str) -> None:
    preset = PredictionConfig.model_json_schema()["properties"][name]
    (request,) = (
        option
        for option in GenerationRequest.model_json_schema()["properties"][name]["anyOf"]
        if option["type"] != "null"
    )
    for bound in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxProperties"):
        assert preset.get(bound) == request.get(bound), bound
