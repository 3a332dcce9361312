"""What plain text stands for, by the schema of its argument."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.chat.formats.reading.values import (
    find_schema,
    find_types,
    list_arguments,
    mend,
    to_json,
)
from tests.chat.toolbox import TOOLS

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ("Paris", STRING, "Paris"),
        ("42", STRING, "42"),
        ("  a\nb ", STRING, "  a\nb "),
        ('"quoted"', STRING, '"quoted"'),
        ("42", INTEGER, 42),
        (" 42\n", INTEGER, 42),
        ("1e3", {"type": "number"}, 1000.0),
        ("ten", INTEGER, "ten"),
        ("NaN", {"type": "number"}, "NaN"),
        ("True", {"type": "boolean"}, True),
        ("false", {"type": "boolean"}, False),
        ("None", {"type": ["string", "null"]}, None),
        ("null", {"type": ["string", "null"]}, None),
        ("42", {"type": ["string", "null"]}, "42"),
        ("42", {"type": ["string", "integer"]}, 42),
        ('{"a": [1]}', {"type": "object"}, {"a": [1]}),
        ("{'a': 1}", {"type": "object"}, "{'a': 1}"),
        ("null", {"anyOf": [STRING, {"type": "null"}]}, None),
        ("5", {"anyOf": [STRING, {"$ref": "#/x"}]}, 5),
        ("5", {"enum": ["5", "6"]}, "5"),
        ("5", {"enum": [5, 6]}, 5),
        ("5", {"const": "5"}, "5"),
        ("5", {}, 5),
        ("five", {}, "five"),
        ("five", None, "five"),
        ("[1, 2]", None, [1, 2]),
        ("", STRING, ""),
        ("", INTEGER, ""),
        ("[" * 100 + "]" * 100, {}, "[" * 100 + "]" * 100),
    ],
)
def test_text_becomes_what_its_schema_asks_for(text: str, schema: Any, expected: Any) -> None:
    assert json.loads(to_json(text, schema)) == expected


@given(st.text(), st.sampled_from([STRING, INTEGER, {}, None, {"type": ["string", "null"]}]))
def test_whatever_is_written_becomes_json(text: str, schema: Any) -> None:
    json.loads(to_json(text, schema))


@given(st.recursive(st.just({}), lambda inner: st.fixed_dictionaries({"anyOf": st.lists(inner)})))
def test_a_schema_that_says_nothing_of_types_leaves_them_open(schema: Any) -> None:
    assert find_types(schema) == frozenset()


def test_a_schema_is_found_by_the_names_of_tool_and_argument() -> None:
    tools = list(TOOLS.values())
    assert find_schema(tools, "search", "limit") == INTEGER
    assert find_schema(tools, "search", "unheard") is None
    assert find_schema(tools, "unheard", "limit") is None
    assert list_arguments(tools, "add") == ["a", "b"]
    assert list_arguments(tools, "unheard") == []


def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_joined() -> None:
    assert mend("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"
