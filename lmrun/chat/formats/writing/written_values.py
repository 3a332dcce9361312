"""Lark rules for arguments that are written as plain text between tags, by their tool's schema.

It knows no format: the tags are given. What a rule derives is read back as a value that satisfies
the schema; a schema for which that cannot be promised is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmrun.chat.formats.reading.values import find_types, to_json
from lmrun.chat.formats.writing.grammars import quote, write_json
from lmrun.chat.messages import Tool
from lmrun.errors import InvalidParameter

_LENGTHS = frozenset({"minLength", "maxLength"})
_REMARKS = frozenset({"type", "title", "description", "default", "examples", "deprecated"})
_STRUCTURES = frozenset({"anyOf", "oneOf", "allOf", "not", "$ref", "if", "dependentRequired"})


@dataclass(frozen=True, slots=True)
class Tags:
    """`begin`: what opens an argument, `%s` is its name. `end`: what closes it; no text holds it.
    `margin`: stands before `end` and is no part of a value. `after`: follows `end`."""

    begin: str
    end: str
    margin: str = ""
    after: str = ""


def write_parameters(rules: list[str], tool: Tool, index: int, tags: Tags) -> str:
    """What stands for all arguments of `tool`, in the order of its schema. Adds their rules, named
    with `index`, to `rules`.

    Raises InvalidParameter for a tool whose arguments cannot be enforced in this form.
    """
    parameters = tool.parameters
    properties = parameters.get("properties", {})
    required = parameters.get("required", ())
    _require_plain(tool, properties, required)
    parts = []
    for place, (name, schema) in enumerate(properties.items()):
        rule = f"argument_{index}_{place}"
        try:
            rules.append(_write_value(rule, _with_definitions(schema, parameters), tags))
        except _Unenforced as error:
            raise _refuse(tool, f"{error} of `{name}` cannot be enforced in text") from None
        part = f"{quote(tags.begin % name)} {rule}"
        parts.append(part if name in required else f"({part})?")
    return " ".join(parts)


class _Unenforced(Exception):
    """It cannot be promised that what is written satisfies the schema."""


def _require_plain(tool: Tool, properties: Any, required: Any) -> None:
    if not isinstance(properties, dict) or _STRUCTURES & tool.parameters.keys():
        raise _refuse(tool, "its arguments are not plain properties")
    for name in required:
        if name not in properties:
            raise _refuse(tool, f"`{name}` is required, but no property")
    for name in properties:
        if name != name.strip() or not name or set(name) & set("<>\n"):
            raise _refuse(tool, f"an argument cannot be called {name!r}")


def _write_value(rule: str, schema: Any, tags: Tags) -> str:
    types = find_types(schema)
    end = quote(tags.margin + tags.end + tags.after)
    if _is_free(schema):
        after = quote(tags.after) if tags.after else ""
        return f"{rule}: {rule}_text {after}\n{rule}_text[suffix={quote(tags.end)}]: /(.|\\n)*/"
    if "string" not in types:
        return f"{rule}: {write_json(schema)} {end}"
    if "enum" in schema or "const" in schema:
        return f"{rule}: ({_write_choices(schema)}) {end}"
    if types != {"string"} or schema.keys() - _REMARKS - _LENGTHS:
        raise _Unenforced(_describe(schema))
    # Without `<` nothing in it can be the end, so what is counted is what is read.
    counts = f"{schema.get('minLength', 0)},{schema.get('maxLength', '')}"
    return f"{rule}: /[^<]{{{counts}}}/ {end}"


def _is_free(schema: Any) -> bool:
    """Whether any text at all is read as a value that satisfies `schema`."""
    if schema is True:
        return True
    if not isinstance(schema, dict):
        return False
    types = find_types(schema)
    if schema.keys() <= _REMARKS:
        return not types or ("string" in types and "integer" not in types)
    if schema.keys() <= _REMARKS | {"anyOf"} and "string" in types and "integer" not in types:
        return all(each.keys() <= _REMARKS for each in schema["anyOf"])
    return False


def _write_choices(schema: Mapping[str, Any]) -> str:
    """The values of an enumeration, as they are read back."""
    texts = []
    for value in schema["enum"] if "enum" in schema else [schema["const"]]:
        text = value if isinstance(value, str) else json.dumps(value)
        if json.loads(to_json(text, schema)) != value or "<" in text:
            raise _Unenforced(f"the value {text!r}")
        texts.append(quote(text))
    return " | ".join(texts)


def _describe(schema: Mapping[str, Any]) -> str:
    unknown = schema.keys() - _REMARKS - _LENGTHS
    return f"`{min(unknown)}`" if unknown else "the type"


def _with_definitions(schema: Any, parameters: Mapping[str, Any]) -> Any:
    """A part of a schema, with what it may refer to."""
    definitions = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
    refers = isinstance(schema, dict) and "$ref" in json.dumps(schema)
    return {**definitions, **schema} if refers else schema


def _refuse(tool: Tool, reason: str) -> InvalidParameter:
    return InvalidParameter(f"The tool `{tool.name}` cannot be enforced: {reason}.", param="tools")
