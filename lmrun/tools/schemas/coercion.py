"""Reading values as their schema's types: `"12"` as 12 where a whole number is wanted, and nothing
where something would be lost. Pure; it does not judge whether the outcome is right."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

MAX_DEPTH = 64
MAX_ALTERNATIVES = 16

_WHOLE = re.compile(r"-?[0-9]{1,300}(?:\.0{1,20})?")
_NUMBER = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?(?:[eE][+-]?[0-9]{1,3})?")

_MAX_STEPS = 8

_KEEP: Final = object()

Schema = Mapping[str, Any]
Choices = list[tuple[str, Schema]]


def coerce(arguments: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """`arguments` with every value read as `schema` wants it, where that loses nothing. A null for
    what may be left out, but may not be null, is left out."""
    coerced = _coerce(arguments, schema, schema, 0)
    return coerced if isinstance(coerced, dict) else arguments


def _coerce(value: Any, schema: Any, root: Schema, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return value
    choices = _choices(schema, root)
    kinds = {kind for kind, _ in choices}
    own = _kind(value)
    if not kinds or own in kinds or (own == "integer" and "number" in kinds):
        fitting = [inner for kind, inner in choices if kind == own]
        # Which of several objects is meant would be a guess.
        return _coerce_inside(value, fitting[0], root, depth) if len(fitting) == 1 else value
    for kind, inner in choices:
        read = _convert(value, kind)
        if read is not _KEEP:
            return _coerce_inside(read, inner, root, depth)
    return value


def _coerce_inside(value: Any, schema: Schema, root: Schema, depth: int) -> Any:
    if isinstance(value, dict):
        return _coerce_object(value, schema, root, depth)
    if isinstance(value, list):
        firsts = schema.get("prefixItems")
        firsts = firsts if isinstance(firsts, list) else []
        rest = schema.get("items")
        return [
            _coerce(item, firsts[index] if index < len(firsts) else rest, root, depth + 1)
            for index, item in enumerate(value)
        ]
    return value


def _coerce_object(
    value: dict[str, Any], schema: Schema, root: Schema, depth: int
) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    required = required if isinstance(required, list | tuple) else ()
    coerced = {}
    for name, item in value.items():
        inner = properties.get(name, schema.get("additionalProperties"))
        if item is None and name in properties and name not in required:
            kinds = {kind for kind, _ in _choices(inner, root)}
            if kinds and "null" not in kinds:
                continue
        coerced[name] = _coerce(item, inner, root, depth + 1)
    return coerced


def _choices(schema: Any, root: Schema, *, is_alternative: bool = False) -> Choices:
    """The types that a value may have, each with the schema that says so; none: any.

    Alternatives within alternatives are not looked at: schemas can hold very many of them.
    """
    schema = _follow(schema, root)
    if not isinstance(schema, Mapping):
        return []
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return [(kinds, schema)]
    if isinstance(kinds, list):
        return [(kind, schema) for kind in kinds if isinstance(kind, str)]
    alternatives = schema.get("anyOf", schema.get("oneOf"))
    if is_alternative or not isinstance(alternatives, list) or len(alternatives) > MAX_ALTERNATIVES:
        return []
    found = [_choices(each, root, is_alternative=True) for each in alternatives]
    return [choice for each in found for choice in each] if all(found) else []


def _follow(schema: Any, root: Schema) -> Any:
    """Past references, and an `allOf` of one."""
    for _ in range(_MAX_STEPS):
        if not isinstance(schema, Mapping):
            return None
        whole = schema.get("allOf")
        if isinstance(schema.get("$ref"), str):
            schema = _resolve(schema["$ref"], root)
        elif isinstance(whole, list) and len(whole) == 1 and "type" not in schema:
            schema = whole[0]
        else:
            return schema
    return None


def _resolve(reference: str, root: Schema) -> Any:
    """What `#/$defs/Name` means; nothing for any other reference."""
    if not reference.startswith("#/"):
        return None
    found: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"


def _convert(value: Any, kind: str) -> Any:
    """`value` as `kind`, or _KEEP where it is none, or something would be lost."""
    if isinstance(value, str):
        return _read(value.strip(), kind)
    if isinstance(value, float) and kind == "integer" and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and kind == "string":
        return str(value)
    return _KEEP


def _read(text: str, kind: str) -> Any:
    if kind == "integer" and _WHOLE.fullmatch(text):
        return int(text.partition(".")[0])
    if kind == "number" and _NUMBER.fullmatch(text):
        number = int(text) if text.lstrip("-").isdigit() else float(text)
        return number if isinstance(number, int) or math.isfinite(number) else _KEEP
    if kind == "boolean" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == "null" and text == "null":
        return None
    if kind in ("array", "object"):
        return _read_json(text, list if kind == "array" else dict)
    return _KEEP


def _read_json(text: str, wanted: type) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _KEEP
    return value if isinstance(value, wanted) else _KEEP
