"""Every number of a request, within its bounds and beyond: tables made from the types."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from lmrun.api.body import parse_json
from lmrun.api.openai.requests import GenerationRequest
from lmrun.api.openai.validate import validate_request
from lmrun.errors import InvalidParameter
from lmrun.settings.prediction import PredictionConfig
from tests.api.openai.bodies import KINDS, refusal


def numeric_fields(kind: type[BaseModel]) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, JSON type, schema) of every number that a request can carry."""
    found = []
    for name, schema in kind.model_json_schema()["properties"].items():
        for option in schema.get("anyOf", [schema]):
            if option.get("type") in ("number", "integer"):
                found.append((name, option["type"], option))
    return found


NUMBERS = [(kind, base, *field) for kind, base in KINDS for field in numeric_fields(kind)]


def test_the_table_of_numbers_is_complete() -> None:
    names = {field[2] for field in NUMBERS}
    assert names == {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "max_tokens",
        "max_completion_tokens",
        "seed",
    }


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
    # A seed's bounds are OpenAI's; it is folded.
    "name",
    sorted(set(PredictionConfig.model_fields) & set(GenerationRequest.model_fields) - {"seed"}),
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
