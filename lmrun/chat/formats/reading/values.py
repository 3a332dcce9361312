"""Arguments that a model wrote as plain text: the JSON they stand for, by their tool's schema.

A text argument stays text to the letter; what else it may be is read as JSON, and is text when it
is none. It knows no markup.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lmrun.chat.formats.reading.json_text import JsonScanner
from lmrun.chat.messages import Tool

_PYTHON = {"True": "true", "False": "false", "None": "null"}
_BEGINNINGS = {'"': "string", "{": "object", "[": "array", "t": "boolean", "f": "boolean"}
_BEGINNINGS["n"] = "null"
_MAX_ALTERNATIVES_DEPTH = 8


def find_schema(tools: Sequence[Tool], name: str, argument: str) -> Any:
    """The schema of an argument; None when the tool or the argument is not known."""
    parameters = next((tool.parameters for tool in tools if tool.name == name), {})
    properties = parameters.get("properties")
    return properties.get(argument) if isinstance(properties, dict) else None


def list_arguments(tools: Sequence[Tool], name: str) -> list[str]:
    """The names of a tool's arguments, in the order of its schema."""
    parameters = next((tool.parameters for tool in tools if tool.name == name), {})
    properties = parameters.get("properties")
    return list(properties) if isinstance(properties, dict) else []


def is_text(schema: Any) -> bool:
    """Whether an argument with this schema can be nothing but text."""
    return find_types(schema) == {"string"}


def find_types(schema: Any, depth: int = 0) -> frozenset[str]:
    """The JSON types that a schema names; none when it leaves them open or refers elsewhere."""
    if not isinstance(schema, dict) or depth > _MAX_ALTERNATIVES_DEPTH:
        return frozenset()
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset({declared})
    if isinstance(declared, list):
        return frozenset(each for each in declared if isinstance(each, str))
    if isinstance(schema.get("enum"), list):
        return frozenset(_type_of(json.dumps(value)) for value in schema["enum"])
    if "const" in schema:
        return frozenset({_type_of(json.dumps(schema["const"]))})
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return _join(schema[key], depth + 1)
    return frozenset()


def _join(alternatives: list[Any], depth: int) -> frozenset[str]:
    """The types of all alternatives; none when one of them leaves its own open."""
    each = [find_types(alternative, depth) for alternative in alternatives]
    return frozenset().union(*each) if all(each) else frozenset()


def to_json(text: str, schema: Any) -> str:
    """The JSON text of an argument that was written as `text`."""
    types = find_types(schema)
    stripped = text.strip()
    if types != {"string"}:
        value = _PYTHON.get(stripped, stripped)
        if is_json(value) and _fits(_type_of(value), types):
            return value
    return quote(text)


def quote(text: str) -> str:
    """`text` as a JSON string."""
    return json.dumps(text, ensure_ascii=False)


def escape(text: str) -> str:
    """`text` as it stands inside a JSON string."""
    return quote(text)[1:-1]


def mend(text: str) -> str:
    """Halves of surrogate pairs joined; one alone, which no text can hold, is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_json(text: str) -> bool:
    """Whether `text` is one JSON value and nothing else."""
    scanner = JsonScanner()
    return scanner.push(text) == len(text) and scanner.finish() == "complete"


def _type_of(value: str) -> str:
    return _BEGINNINGS.get(value[0], "number")


def _fits(found: str, types: frozenset[str]) -> bool:
    """Whether JSON of the type `found` is meant: where text is allowed, too, only if it is named;
    a value that no type allows is still the likelier reading of what looks like one."""
    if found == "number" and "integer" in types:
        return True
    return found in types or "string" not in types
