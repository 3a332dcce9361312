"""Schemas of the JSON schemas that can be enforced, bounded so that random answers come to an end.

hypothesis-jsonschema follows no recursion: depth comes of `$ref` to later definitions. It knows no
engine.
"""

from __future__ import annotations

from typing import Any

PATTERNS = ["^[a-z]{2,4}$", "^(ab|cd)+$", "x", r"^\d{1,3}-\w$", "^[^a-z]{1,3}$", "^é.ü$"]
FORMATS = ["date", "time", "ipv4", "uuid"]
NAMES = ["a", "b c", "é", 'q"\\', "n\n", ""]
LEVELS = 3


def make_metaschemas() -> list[list[dict[str, Any]]]:
    """For each level, schemas of the definitions `#/$defs/<level>`: the last one is of scalars."""
    scalars = _make_scalars()
    levels = [scalars + _make_nested(_refer_below(level)) for level in range(LEVELS)]
    return [*levels, scalars]


def _refer_below(level: int) -> dict[str, Any]:
    """A `$ref` to a later definition, or a small schema in its place."""
    refs = [f"#/$defs/{below}" for below in range(level + 1, LEVELS + 1)]
    small = _record(type={"const": "integer"}, minimum=_integer(-9, 0), maximum=_integer(0, 9))
    return {"anyOf": [_record(**{"$ref": {"enum": refs}}), small]}


def _record(**required: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": required,
        "required": list(required),
        "additionalProperties": False,
    }


def _integer(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _list(item: Any, low: int, high: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": low, "maxItems": high}


def _make_scalars() -> list[dict[str, Any]]:
    text = {"type": "string", "maxLength": 6}
    value = {"anyOf": [text, _integer(-99, 99), {"type": ["null", "boolean"]}]}
    number = {"type": "number", "minimum": 1, "maximum": 100}
    string, integer = {"const": "string"}, {"const": "integer"}
    return [
        _record(type=string, minLength=_integer(0, 3), maxLength=_integer(3, 8)),
        _record(type=string, pattern={"enum": PATTERNS}, maxLength={"const": 8}),
        _record(type=string, format={"enum": FORMATS}),
        _record(type=integer, minimum=_integer(-500, 0), maximum=_integer(0, 500)),
        _record(
            type=integer,
            exclusiveMinimum=_integer(-50, -20),
            maximum=_integer(20, 50),
            multipleOf=_integer(1, 9),
        ),
        _record(type={"const": "number"}, minimum=_integer(-9, 0), exclusiveMaximum=number),
        _record(type={"enum": ["boolean", "null", ["null", "boolean"]]}),
        _record(enum=_list(value, 1, 4)),
        _record(const={"anyOf": [value, _list(value, 0, 2), _record(k=value)]}),
    ]


def _make_nested(inner: dict[str, Any]) -> list[dict[str, Any]]:
    array, thing, never = {"const": "array"}, {"const": "object"}, {"const": False}
    names = {"enum": NAMES}
    return [
        _record(type=array, items=inner, minItems=_integer(0, 2), maxItems=_integer(2, 3)),
        _record(type=array, prefixItems=_list(inner, 1, 2), items=never, minItems=_integer(0, 1)),
        _record(
            type=thing,
            properties={"type": "object", "propertyNames": names, "additionalProperties": inner},
            required={**_list(names, 0, 2), "uniqueItems": True},
            additionalProperties=never,
        ),
        _record(
            type=thing,
            patternProperties=_record(**{"^[a-z]{1,2}$": inner, "^[0-9]$": inner}),
            additionalProperties=never,
            minProperties=_integer(0, 1),
            maxProperties=_integer(1, 2),
        ),
        _record(anyOf=_list(inner, 1, 3)),
        _record(allOf=_list(inner, 1, 2)),
        _record(oneOf=_list(inner, 1, 2)),
    ]
