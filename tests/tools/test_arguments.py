"""Arguments as models write them: read as declared, or refused in words that help."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from lmrun.settings.unchecked import find_unchecked
from lmrun.tools.arguments import MAX_BYTES, ArgumentFault, check_arguments


def object_of(required: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def fault(given: str | dict[str, Any], schema: dict[str, Any]) -> str:
    found = check_arguments(given, schema)
    assert isinstance(found, ArgumentFault), found
    return found.message


WHOLE, NUMBER, TEXT, TRUTH = ({"type": it} for it in ("integer", "number", "string", "boolean"))
NUMBERS = {"type": "array", "items": NUMBER}
MAYBE = {"anyOf": [WHOLE, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "written", "read"),
    [
        (WHOLE, "12", 12),
        (WHOLE, " -7 ", -7),
        (WHOLE, "3.0", 3),
        (WHOLE, 3.0, 3),
        (WHOLE, 10**30, 10**30),
        (NUMBER, "1.5", 1.5),
        (NUMBER, "1e3", 1000.0),
        (NUMBER, "2", 2),
        (NUMBER, 2, 2),
        (TEXT, 1017, "1017"),
        (TEXT, "12", "12"),
        (TRUTH, "True", True),
        (TRUTH, "false", False),
        (NUMBERS, '[1, "2.5"]', [1, 2.5]),
        ({"type": "object", "properties": {"n": WHOLE}}, '{"n": "4"}', {"n": 4}),
        ({"type": "object", "additionalProperties": WHOLE}, {"x": "4"}, {"x": 4}),
        ({"type": ["integer", "string"]}, "12", "12"),
        (MAYBE, "12", 12),
        (MAYBE, "null", None),
        (MAYBE, None, None),
        ({"type": "array", "prefixItems": [TEXT, WHOLE]}, ["1", "1"], ["1", 1]),
    ],
)
def test_what_fits_when_read_as_declared_is_read_so(schema: Any, written: Any, read: Any) -> None:
    found = check_arguments(json.dumps({"x": written}), object_of(("x",), x=schema))
    assert found == {"x": read}
    assert not isinstance(found, ArgumentFault)
    assert type(found["x"]) is type(read)


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        (WHOLE, 1.5),
        (WHOLE, "1.5"),
        (WHOLE, "twelve"),
        (WHOLE, "0x10"),
        (WHOLE, True),
        (WHOLE, ""),
        (NUMBER, "1,5"),
        (NUMBER, "Infinity"),
        (TEXT, 1.5),
        (TEXT, True),
        (TEXT, ["a"]),
        (TRUTH, "yes"),
        (TRUTH, 1),
        (NUMBERS, "[1"),
        (NUMBERS, '{"a": 1}'),
        (MAYBE, "1.5"),
    ],
)
def test_where_something_would_be_lost_nothing_is_read(schema: Any, written: Any) -> None:
    assert "`x`" in fault({"x": written}, object_of(x=schema))


def test_references_are_followed() -> None:
    schema = object_of(x={"$ref": "#/$defs/N"}) | {"$defs": {"N": WHOLE}}
    assert check_arguments({"x": "5"}, schema) == {"x": 5}


def test_null_for_what_may_be_left_out_is_left_out() -> None:
    schema = object_of(("a",), a=TEXT, b=TEXT)
    assert check_arguments({"a": "x", "b": None}, schema) == {"a": "x"}
    assert "`a` must be text, not null" in fault({"a": None}, schema)


def test_no_arguments_may_be_written_as_nothing() -> None:
    assert check_arguments("", object_of()) == {}
    assert check_arguments(" {} ", object_of()) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", "`path` is missing; it must be text."),
        ('{"path": "a", "depth": "x"}', '`depth` must be a whole number, not "x".'),
        ('{"path": "a", "x": 1}', "`x` is no parameter; there are: `path`, `depth`, `unit`."),
        ('{"path": "a", "unit": "pt"}', '`unit` must be one of "mm", "in", not "pt".'),
        ('{"depth": 1, "unit": "mm"}', "`path` is missing; it must be text."),
        ("[1]", 'The arguments are [1]; write an object, {"name": …}.'),
        (
            '{"path": ',
            "The arguments are no JSON (Expecting value, line 1, column 10); write an object.",
        ),
        ('{"path": "a", "path": "b"}', 'The arguments cannot be used: "path" is given twice.'),
        ('{"path": NaN}', "The arguments cannot be used: NaN is no number of JSON."),
        (
            '{"path": 1e999}',
            "There is a number in the arguments that is not finite, or too large.",
        ),
        (
            '{"path": "\\ud800"}',
            "There is half a surrogate pair in the arguments, which is no character.",
        ),
        ('{"path": ' + "[" * 100 + "]" * 100 + "}", "The arguments are nested deeper than 64."),
        ('{"path": ' + "[" * 100_000, "The arguments are nested deeper than 64."),
        (
            '{"path": "' + "x" * MAX_BYTES + '"}',
            f"The arguments are longer than {MAX_BYTES} bytes; write less.",
        ),
        (
            json.dumps({"path": [0] * 30_000}),
            "There are more than 20000 values in the arguments; write fewer.",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words_that_help(given: str, message: str) -> None:
    unit = {"enum": ["mm", "in"]}
    assert fault(given, object_of(("path",), path=TEXT, depth=WHOLE, unit=unit)) == message


def test_several_faults_are_told_at_once() -> None:
    lines = fault({"a": "x", "b": "y"}, object_of(("c",), a=WHOLE, b=TRUTH, c=TEXT)).splitlines()
    assert len(lines) == 3


def test_a_long_value_is_not_repeated_to_the_model() -> None:
    assert len(fault({"a": "x" * 100_000}, object_of(a=WHOLE))) < 200


def _doubling() -> dict[str, Any]:
    """Forty references, each to twice the next: 2⁴⁰ rules."""
    each = {f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(40)}
    return object_of(x={"$ref": "#/$defs/d0"}) | {"$defs": each | {"d40": {}}}


def _nested(keyword: str) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(60):
        schema = {keyword: [schema, {}], "unevaluatedProperties": False}
    return object_of(x=schema)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("a" * 5000 + "!", object_of(x={"type": "string", "pattern": "^(a+)+$"})),
        ("a" * 5000 + "!", object_of(x={"type": "string", "pattern": "^(a|a)*$"})),
        ({"a" * 5000 + "!": 1}, object_of(x={"patternProperties": {"^(a+)+$": {"type": "null"}}})),
        (1, _doubling()),
        ({"a": 1}, _nested("allOf")),
        ({"a": 1}, _nested("anyOf")),
        ([{"a": i} for i in range(6000)], object_of(x={"uniqueItems": True})),
        (1, object_of(x={"$ref": "#/properties/x"})),
        (1, object_of(x={"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"})),
    ],
    ids=["nested", "either", "names", "doubling", "all", "any", "unique", "itself", "draft"],
)
def test_no_schema_keeps_the_check_busy(value: Any, schema: dict[str, Any]) -> None:
    begin = time.thread_time()
    check_arguments({"x": value}, schema)
    assert time.thread_time() - begin < 1.0


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "object", "properties": 5}, "the schema is none"),
        ({"properties": {"x": {"$ref": "https://example.com/s"}}}, "refers to"),
        ({"properties": {"x": {"$ref": "#/$defs/nothing"}}}, "refers to"),
        ({"properties": {"x": {"type": "wrong"}}}, "the schema is none"),
        (_doubling(), "too much to check"),
    ],
)
def test_with_a_schema_that_is_none_nothing_is_called(schema: dict[str, Any], why: str) -> None:
    assert why in fault({"x": 1}, schema)


@pytest.mark.parametrize(
    "rule",
    [
        {"pattern": "^a+$"},
        {"patternProperties": {"^a+$": {}}, "additionalProperties": False},
        {"uniqueItems": True},
        {"minLength": 9},
        {"multipleOf": 7},
        {"not": {"type": ["string", "array", "object", "integer"]}},
        {"oneOf": [{"type": ["string", "array", "object", "integer"]}, True]},
    ],
)
def test_the_other_rules_count_too(rule: dict[str, Any]) -> None:
    value = {"uniqueItems": [1, 1], "patternProperties": {"b": 1}, "multipleOf": 5}
    broken = value.get(next(iter(rule)), "b")
    assert "x" in fault({"x": broken}, object_of(x=rule))


def test_what_cannot_be_checked_is_known() -> None:
    assert find_unchecked({"items": {"pattern": "(?=a)b"}}) == "the pattern '(?=a)b'"
    assert find_unchecked({"unevaluatedItems": False}) == "`unevaluatedItems`"
    assert find_unchecked({"properties": {"p": {"pattern": "^[a-z]+$"}}}) is None


def test_a_check_costs_little() -> None:
    schema = object_of(("a", "b"), a=WHOLE, b=TEXT)
    check_arguments('{"a": 1, "b": "x"}', schema)
    begin = time.thread_time()
    for _ in range(200):
        check_arguments('{"a": 1, "b": "x"}', schema)
    assert (time.thread_time() - begin) / 200 < 0.001


def test_a_name_given_twice_among_very_many_is_found_at_once() -> None:
    """A model may write as many as fit, and the server does nothing else meanwhile."""
    names = [*(f"{number:x}" for number in range(23_000)), "59d7"]
    given = "{" + ",".join(f'"{name}":1' for name in names) + "}"
    began = time.process_time()
    message = fault(given, {"type": "object"})
    assert time.process_time() - began < 1.0
    assert '"59d7" is given twice' in message


def test_a_number_that_is_too_long_is_refused_in_words_for_a_model() -> None:
    message = fault('{"a": ' + "9" * 5000 + "}", {"type": "object"})
    assert message == "The arguments cannot be used: a number has too many digits."
