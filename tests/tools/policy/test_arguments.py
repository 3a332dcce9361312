"""Arguments as a policy sees them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.tools.policy.arguments import (
    ArgumentsUnreadable,
    canonical_json,
    digest_arguments,
    find_values,
    to_text,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def nested(depth: int) -> dict[str, Any]:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1.0, 2.5, True, None]}, '{"a":[1,2.5,true,null],"b":1}'),
        (1e3, "1000"),
        (-0.0, "0"),
        (10**20, "100000000000000000000"),
        (1e20, "100000000000000000000"),
        ("ü", '"ü"'),
        ((1, 2), "[1,2]"),
    ],
)
def test_equal_json_has_one_text(value: Any, text: str) -> None:
    assert canonical_json(value) == text


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_the_text_is_the_value(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


def test_the_digest_is_that_of_the_text_whatever_the_order_of_the_arguments() -> None:
    expected = hashlib.sha256(b'{"a":1,"b":"x"}').hexdigest()
    assert digest_arguments({"b": "x", "a": 1.0}) == expected
    assert digest_arguments({"a": "1", "b": "x"}) != expected


def test_half_a_surrogate_pair_has_a_digest() -> None:
    assert digest_arguments({"a": "\ud800"}) != digest_arguments({"a": "\ud801"})


@pytest.mark.parametrize(
    "arguments", [nested(100_000), {"a": {1, 2}}, {"a": object()}], ids=["deep", "set", "object"]
)
def test_what_cannot_be_written_down_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentsUnreadable):
        digest_arguments(arguments)


def test_text_stands_for_itself_and_all_else_for_its_json() -> None:
    assert to_text("a b") == "a b"
    assert to_text(True) == "true"
    assert to_text(7.0) == "7"
    assert to_text([1, "x"]) == '[1,"x"]'


@pytest.mark.parametrize(
    ("arguments", "path", "values"),
    [
        ({"a": 1}, "a", [1]),
        ({"a": 1}, "b", []),
        ({"a": {"b": 1}}, "a.b", [1]),
        ({"a.b": 2, "a": {"b": 1}}, "a.b", [2, 1]),
        ({"a": {"b.c": 1, "b": {"c": 2}}}, "a.b.c", [1, 2]),
        ({"a": [{"b": 1}, {"b": 2}, {"c": 3}, 4]}, "a.b", [1, 2]),
        ({"a": [1, 2]}, "a", [[1, 2]]),
        ({"a": "text"}, "a.b", []),
        ({"a": None}, "a", [None]),
    ],
)
def test_a_path_finds_every_value_that_it_may_mean(
    arguments: dict[str, Any], path: str, values: list[Any]
) -> None:
    assert find_values(arguments, path) == values


def test_a_path_into_endless_lists_is_refused() -> None:
    with pytest.raises(ArgumentsUnreadable):
        find_values(nested(100_000), "a.b")
