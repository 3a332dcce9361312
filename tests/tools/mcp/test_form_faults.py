"""What is wrong with an answer to a form: a line for each field, with what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.tools.mcp.answering.faults import find_fault, find_faults

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "minimum": 30, "maximum": 50},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "cut": {"type": "string", "oneOf": [{"const": "s", "title": "Slim"}, {"const": "w"}]},
        "extras": {
            "type": "array",
            "items": {"type": "string", "enum": ["bow", "box"]},
            "minItems": 1,
        },
        "mail": {"type": "string", "format": "email", "maxLength": 20},
        "share": {"type": "number", "minimum": 0.5},
        "gift": {"type": "boolean"},
        "note": {"type": "string", "pattern": "^[a-z]+$"},
    },
    "required": ["size", "gift"],
}
GOOD = {"size": 44, "gift": True}


def lines(content: dict[str, Any]) -> list[str]:
    return [it.text for it in find_faults(content, FORM)]


def test_a_good_answer_has_none() -> None:
    assert find_faults({**GOOD, "cut": "s", "extras": ["bow"], "note": "abc"}, FORM) == []


def test_an_empty_answer_lacks_what_is_required() -> None:
    assert lines({}) == [
        "`size` is missing: it must be an integer, at least 30, at most 50.",
        "`gift` is missing: it must be true or false.",
    ]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("size", "44", '`size` is "44": it must be an integer, at least 30, at most 50.'),
        ("size", 29, "`size` is 29: it must be an integer, at least 30, at most 50."),
        ("size", None, "`size` is null: it must be an integer, at least 30, at most 50."),
        ("color", "green", '`color` is "green": it must be one of red, blue.'),
        ("cut", "Slim", '`cut` is "Slim": it must be one of s, w.'),
        ("extras", ["bag"], '`extras` is ["bag"]: it must be any of bow, box, at least 1 of them.'),
        ("extras", [], "`extras` is []: it must be any of bow, box, at least 1 of them."),
        ("mail", {}, "`mail` is {}: it must be an email address, at most 20 characters."),
        ("share", 0.1, "`share` is 0.1: it must be a number, at least 0.5."),
        ("gift", "yes", '`gift` is "yes": it must be true or false.'),
        ("note", "A", '`note` is "A": it must be text, that matches ^[a-z]+$.'),
        ("colour", "red", "`colour` is no field of the form; did you mean `color`?"),
    ],
)
def test_each_fault_says_what_would_be_right(name: str, value: Any, line: str) -> None:
    assert lines({**GOOD, name: value}) == [line]


def test_all_that_is_wrong_is_said_in_the_forms_order() -> None:
    found = find_faults({"zzz": 1, "note": 1, "size": 1}, FORM)
    assert [it.name for it in found] == ["size", "gift", "note", "zzz"]
    assert found[-1].text.startswith("`zzz` is no field of the form; it has size, color, cut")


def test_what_the_protocol_has_no_place_for_is_wrong_whatever_the_schema_says() -> None:
    anything = {"type": "object", "properties": {"a": {"type": "array", "items": {}}}}
    assert [it.name for it in find_faults({"a": [1]}, anything)] == ["a"]
    assert find_faults({"a": ["x"]}, anything) == []


def test_a_long_value_is_not_quoted_whole() -> None:
    (line,) = lines({**GOOD, "color": "x" * 10_000})
    assert len(line) < 200


def test_one_field_is_judged_alone() -> None:
    assert find_fault("size", 44, FORM) is None, "whatever else is missing"
    assert find_fault("size", 3, FORM) == "an integer, at least 30, at most 50"


def test_a_schema_that_nothing_can_be_checked_with_finds_what_is_plain() -> None:
    broken = {**FORM, "$ref": "#/nowhere"}
    assert [it.name for it in find_faults({"gift": [1]}, broken)] == ["size", "gift"]
