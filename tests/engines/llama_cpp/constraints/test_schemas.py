"""Which JSON a schema lets through: what is valid, compact and in the schema's own order."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.engines.llama_cpp.constraints.player import Player

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
TAGGED = {
    "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
    "discriminator": {"propertyName": "kind"},
    "$defs": {
        "cat": {
            "type": "object",
            "properties": {"kind": {"const": "cat"}, "lives": {"enum": [7, 9]}},
            "required": ["kind", "lives"],
            "additionalProperties": False,
        },
        "dog": {
            "type": "object",
            "properties": {"kind": {"const": "dog"}},
            "required": ["kind"],
            "additionalProperties": False,
        },
    },
}
TREE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["next"],
    "additionalProperties": False,
}

CASES: list[tuple[Any, list[str], list[str]]] = [
    (True, ["{}", "[]", '"x"', "1.5", "null"], ["", "nul"]),
    ({"type": "object"}, ["{}", '{"a":[1,{"b":null}]}'], ["[]", '{"a": 1}', '{ "a":1}', "{}\n"]),
    (PERSON, ['{"name":"é"}', '{"name":"","age":-3}'], ["{}", '{"age":1,"name":""}', '{"name":1}']),
    (
        {"type": "string", "minLength": 1, "maxLength": 2},
        ['"a"', '"😀é"', '"\\n\\""', '"/"'],
        ['""', '"abc"', '"\n"'],
    ),
    ({"type": "string", "pattern": "b", "maxLength": 6}, ['"abc"', '"b"'], ['"a"']),
    ({"type": "string", "pattern": "^\\d+$"}, ['"12"'], ['"1a"', '"٣"']),
    (
        {"type": "string", "pattern": "^.[.]\\.$"},
        ['"é.."'],
        ['"\\r.."', '"\\n.."', '"\u2028.."', '"é.x"'],
    ),
    ({"type": "string", "pattern": "^[^x]$"}, ['"é"', '"\\n"'], ['"x"']),
    (
        {"type": "string", "format": "uuid"},
        ['"' + "0" * 8 + "-1111" * 3 + "-" + "a" * 12 + '"'],
        ['""'],
    ),
    (
        {"type": "integer", "minimum": -5, "maximum": 12},
        ["-5", "0", "12"],
        ["-6", "13", "1.0", "01"],
    ),
    ({"type": "integer", "exclusiveMinimum": 0, "multipleOf": 7}, ["7", "700"], ["0", "8", "-7"]),
    ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, ["0", "0.999"], ["1", "-0.1"]),
    ({"enum": ["a", 1, None, {"k": [True]}]}, ['"a"', "1", "null", '{"k":[true]}'], ['"b"', "2"]),
    ({"const": "é\u0000😀\x7f"}, ['"é\\u0000😀\\u007F"'], ['"e"']),
    ({"type": ["null", "boolean"]}, ["null", "true"], ["0", '"true"']),
    ({"type": "array", "items": {"const": 1}, "maxItems": 2}, ["[]", "[1,1]"], ["[1,1,1]", "[2]"]),
    ({"prefixItems": [{"const": 1}], "items": False, "type": "array"}, ["[]", "[1]"], ["[1,1]"]),
    (
        {
            "type": "object",
            "patternProperties": {"^[ab]$": {"const": 1}},
            "additionalProperties": False,
        },
        ["{}", '{"a":1,"b":1}'],
        ['{"c":1}', '{"a":2}'],
    ),
    (
        {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": {"const": 2}},
        ["{}", '{"a":1,"b":2}', '{"z":2}'],
        ['{"a":2}', '{"b":1}'],
    ),
    ({"type": "object", "minProperties": 1, "maxProperties": 1}, ['{"x":{}}'], ["{}"]),
    (
        {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 4}]},
        ["3", "4"],
        ["2", "5"],
    ),
    ({"type": "integer", "$ref": "#/$defs/d", "$defs": {"d": {"enum": [1, "x"]}}}, ["1"], ['"x"']),
    ({"anyOf": [{"const": "a"}, {"const": "ab"}]}, ['"a"', '"ab"'], ['"abc"']),
    (TAGGED, ['{"kind":"cat","lives":9}', '{"kind":"dog"}'], ['{"kind":"dog","lives":9}']),
    (TREE, ['{"next":null}', '{"next":{"next":null}}'], ['{"next":{}}']),
    (
        {"type": "object", "properties": {'"\\/\n': {"const": 1}}, "required": ['"\\/\n']},
        ['{"\\"\\\\/\\n":1}'],
        ["{}"],
    ),
    (
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "https://example.com/x",
            "title": "T",
            "description": "D",
            "default": 1,
            "examples": [1],
            "deprecated": True,
            "readOnly": True,
            "$comment": "c",
            "x-vendor": {"not": {}},
            "x-guidance": {"lenient": True, "whitespace_flexible": True},
            "uniqueItems": False,
            "const": 1,
        },
        ["1"],
        ["2", " 1"],
    ),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), CASES)
def test_exactly_what_is_valid_and_compact_is_let_through(
    player: Player, schema: Any, valid: list[str], invalid: list[str]
) -> None:
    for text in valid:
        Draft202012Validator(schema).validate(json.loads(text))
        assert player.takes(player.compile(type="json", json_schema=schema), text), text
    for text in invalid:
        assert not player.takes(player.compile(type="json", json_schema=schema), text), text


def is_closed(schema: Any) -> bool:
    """Whether random answers end soon: no object takes names of any kind."""
    text = json.dumps(schema)
    objects = text.count('"type": "object"')
    return schema is not True and objects == text.count('"additionalProperties": false')


@pytest.mark.parametrize("schema", [case[0] for case in CASES if is_closed(case[0])])
def test_random_answers_are_valid_compact_json(player: Player, schema: Any) -> None:
    for seed in range(2):
        text = player.play(player.compile(type="json", json_schema=schema), seed)
        Draft202012Validator(schema).validate(json.loads(text))
        without_strings = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
        assert not re.search(r"\s", without_strings)


def test_without_a_schema_an_object_comes(player: Player) -> None:
    for text, is_taken in [('{"a":1}', True), ("[1]", False), ("1", False)]:
        assert player.takes(player.compile(type="json"), text) == is_taken


def test_properties_come_in_the_schema_s_order(player: Player) -> None:
    names = ["zeta", "alpha", "mid"]
    schema = {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in names},
        "required": sorted(names),
        "additionalProperties": False,
    }
    text = player.play(player.compile(type="json", json_schema=schema), 0)
    assert list(json.loads(text)) == names
