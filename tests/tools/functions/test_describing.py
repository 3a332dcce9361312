"""Functions as tools: schemas from signatures, arguments as types, results as text."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from lmrun.tools.functions.describing import (
    ArgumentsUnfit,
    Function,
    FunctionUnfit,
    ResultUnfit,
    to_text,
)


class Unit(enum.Enum):
    METRE = "m"
    FOOT = "ft"


@dataclass
class Point:
    x: int
    y: int = 0


class Order(BaseModel):
    number: str
    lines: list[Point] = []


def of(function: Any) -> Function:
    return Function.of("f", function)


def test_the_schema_is_that_of_the_signature() -> None:
    def deliver(
        order: str,
        count: int,
        share: Annotated[float, Field(ge=0, le=1, description="From 0 to 1.")] = 0.5,
        unit: Literal["day", "hour"] = "day",
        note: str | None = None,
    ) -> None:
        """Deliver an order.

        Args:
            order: Its number.
            share: Not shown, since the annotation says it.
        """

    described = of(deliver)
    assert described.description == "Deliver an order."
    assert described.parameters == {
        "type": "object",
        "properties": {
            "order": {"type": "string", "description": "Its number."},
            "count": {"type": "integer"},
            "share": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "From 0 to 1.",
                "default": 0.5,
            },
            "unit": {"type": "string", "enum": ["day", "hour"], "default": "day"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["order", "count"],
        "additionalProperties": False,
    }


def test_types_of_one_s_own_are_defined_once() -> None:
    def draw(begin: Point, end: Point, orders: list[Order]) -> None: ...

    schema = of(draw).parameters
    assert schema["properties"]["begin"] == schema["properties"]["end"]
    assert set(schema["$defs"]) == {"Point", "Order"}


def test_without_hints_anything_goes() -> None:
    described = of(lambda a, b=2: a)
    assert described.description is None
    assert described.parameters["properties"] == {"a": {}, "b": {"default": 2}}


@pytest.mark.parametrize("name", ["schema", "json", "copy", "model_config", "self", "_x", "class_"])
def test_no_name_of_a_parameter_is_in_the_way(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def f({name}: int) -> int: return {name}", scope)
    assert list(of(scope["f"]).parameters["properties"]) == [name]
    assert of(scope["f"]).read_arguments({name: "3"}) == {name: 3}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"a": "12"}, {"a": 12}),
        ({"a": 3.0}, {"a": 3}),
        ({"a": 10**40}, {"a": 10**40}),
        ({"b": "2026-11-29"}, {"b": date(2026, 11, 29)}),
        ({"c": "ft"}, {"c": Unit.FOOT}),
        ({"d": {"x": "1"}}, {"d": Point(1)}),
        (
            {"e": {"number": "7", "lines": [{"x": 1, "y": 2}]}},
            {"e": Order(number="7", lines=[Point(1, 2)])},
        ),
        ({"f": ["1", 2]}, {"f": (1, 2)}),
        ({"g": ["a", "a"]}, {"g": {"a"}}),
        ({"h": "1.10"}, {"h": Decimal("1.10")}),
        ({"i": "x/y"}, {"i": Path("x/y")}),
        ({}, {}),
    ],
)
def test_arguments_become_the_types_of_the_signature(given: Any, read: Any) -> None:
    def f(
        a: int = 0,
        b: date = date.min,
        c: Unit = Unit.METRE,
        d: Point | None = None,
        e: Order | None = None,
        f: tuple[int, ...] = (),
        g: set[str] = frozenset(),  # type: ignore[assignment]
        h: Decimal = Decimal(),
        i: Path = Path(),
    ) -> None: ...

    assert of(f).read_arguments(given) == read


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": 1.5}, "`a`: Input should be a valid integer, got a number with a fractional part."),
        ({"a": 1, "p": {"x": "far"}}, "`p.x`: Input should be a valid integer"),
        ({"a": 1, "z": 1}, "`z` is no parameter."),
    ],
)
def test_arguments_that_lose_something_are_refused(given: Any, message: str) -> None:
    def f(a: int, p: Point | None = None) -> None: ...

    with pytest.raises(ArgumentsUnfit) as caught:
        of(f).read_arguments(given)
    assert str(caught.value).startswith(message)


def _any_number(*a: int) -> None: ...
def _any_names(**a: int) -> None: ...
def _by_place(a: int, /) -> None: ...
def _no_json(a: Callable[[], int]) -> None: ...
def _unknown(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_any_number, "`f`: the parameter `a` takes any number of values; a model gives"),
        (_any_names, "`f`: the parameter `a` takes any names; a model gives"),
        (_by_place, "`f`: the parameter `a` can only be given by its place; a model gives"),
        (_no_json, "`f`: its types have no JSON schema: "),
        (_unknown, "the annotations of `f` cannot be read: NameError: name 'Nowhere' is not"),
        (17, "`f` is no function that can be looked into: 17 is not a callable object"),
    ],
)
def test_a_function_that_no_model_could_call_is_refused(function: Any, message: str) -> None:
    with pytest.raises(FunctionUnfit) as caught:
        of(function)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("as it is\n", "as it is\n"),
        (None, "Done."),
        (670592745, "670592745"),
        (True, "true"),
        (1.5, "1.5"),
        ([1, "é", None], '[1, "é", null]'),
        ({"a": Point(1, 2)}, '{"a": {"x": 1, "y": 2}}'),
        (Order(number="7"), '{"number": "7", "lines": []}'),
        (datetime(2026, 12, 24, 13, 3, 17), "2026-12-24T13:03:17"),
        (Path("a/b"), "a/b"),
        (Unit.FOOT, "ft"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (10**30, str(10**30)),
    ],
)
def test_a_result_is_text_as_it_is_and_json_otherwise(result: Any, text: str) -> None:
    assert to_text(result) == text


def test_a_result_that_no_json_can_hold_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for result in (object(), circle, {"a": object()}):
        with pytest.raises(ResultUnfit, match="cannot be written as JSON"):
            to_text(result)
