"""The arguments of a call: from what a model wrote to what a tool can take, or what is wrong with
them in words that a model can act on. Pure; it knows no tool.

What fits when it is read as the declared type is read so, if nothing is lost: `"12"` where a whole
number is wanted. Schemas may come from MCP servers: nothing in them can keep the check busy.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema.exceptions import ValidationError

from lmrun.tools.schemas.coercion import coerce
from lmrun.tools.schemas.validation import SchemaUnusable, find_errors

MAX_BYTES = 256 * 2**10
MAX_DEPTH = 64
MAX_VALUES = 20_000

_MAX_FAULTS = 5
_MAX_QUOTED = 80

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class ArgumentFault:
    """Why a tool cannot take the arguments. `message` is for the model: each line names a field,
    and what would be right."""

    message: str


def check_arguments(
    given: str | Mapping[str, Any], schema: Mapping[str, Any]
) -> dict[str, Any] | ArgumentFault:
    """The arguments that satisfy `schema`, an object's, or what is wrong with those given: JSON
    text of at most MAX_BYTES, nothing at all for none, or what was read from it already."""
    arguments = _read(given)
    if isinstance(arguments, ArgumentFault):
        return arguments
    problem = _find_unfit(arguments)
    if problem is not None:
        return ArgumentFault(problem)
    try:
        coerced = coerce(arguments, schema)
        problem = _find_unfit(coerced)  # text may have become a list
        if problem is not None:
            return ArgumentFault(problem)
        errors = find_errors(coerced, schema)
        lines = [_explain(error) for error, _ in zip(errors, range(_MAX_FAULTS), strict=False)]
    except SchemaUnusable as error:
        return ArgumentFault(f"The arguments cannot be checked: {error}.")
    if lines:
        return ArgumentFault("\n".join(dict.fromkeys(lines)))
    return dict(coerced)


def _read(given: str | Mapping[str, Any]) -> dict[str, Any] | ArgumentFault:
    if not isinstance(given, str):
        return dict(given)
    # Characters first: what is far too long is not encoded to be measured.
    if len(given) > MAX_BYTES or len(given.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return ArgumentFault(f"The arguments are longer than {MAX_BYTES} bytes; write less.")
    if not given.strip():
        return {}
    try:
        value = json.loads(
            given,
            parse_constant=_refuse,
            parse_int=_parse_int,
            object_pairs_hook=_without_repeats,
        )
    except RecursionError:
        return ArgumentFault(f"The arguments are nested deeper than {MAX_DEPTH}.")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return ArgumentFault(f"The arguments are no JSON ({error.msg}, {where}); write an object.")
    except ValueError as error:
        return ArgumentFault(f"The arguments cannot be used: {error}.")
    if not isinstance(value, dict):
        return ArgumentFault(f'The arguments are {_quote(value)}; write an object, {{"name": …}}.')
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _parse_int(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise ValueError("a number has too many digits") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{_quote(twice)} is given twice")
    return found


def _find_unfit(arguments: dict[str, Any]) -> str | None:
    """What no tool can take; without recursion, level by level."""
    level: list[Any] = [arguments]
    count = 0
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        count += len(level)
        if count > MAX_VALUES:
            return f"There are more than {MAX_VALUES} values in the arguments; write fewer."
        for value in level:
            if isinstance(value, Mapping):
                inner += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple):
                inner += value
            elif isinstance(value, str):
                if any("\ud800" <= character <= "\udfff" for character in value):
                    return "There is half a surrogate pair in the arguments, which is no character."
            elif isinstance(value, float) and not math.isfinite(value):
                return "There is a number in the arguments that is not finite, or too large."
        if not inner:
            return None
        level = inner
    return f"The arguments are nested deeper than {MAX_DEPTH}."


def _explain(error: ValidationError) -> str:
    """One error of a schema, in terms of the field where it is."""
    field = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    ).removeprefix(".")
    rule: Any = error.validator_value
    schema: Any = error.schema
    given: Any = error.instance
    match error.validator:
        case "required":
            return " ".join(_missing(field, rule, given, schema))
        case "additionalProperties" if rule is False:
            known = list(schema.get("properties", {}))
            unknown = [name for name in given if name not in known]
            there = ", ".join(f"`{name}`" for name in known) or "none"
            return f"`{_join(field, unknown[0])}` is no parameter; there are: {there}."
        case "type":
            return f"{_name(field)} must be {_kinds(rule)}, not {_quote(given)}."
        case "enum":
            choices = ", ".join(_quote(choice) for choice in rule[:50])
            return f"{_name(field)} must be one of {choices}, not {_quote(given)}."
        case "const":
            return f"{_name(field)} must be {_quote(rule)}, not {_quote(given)}."
        case "anyOf" | "oneOf":
            return f"{_name(field)} fits none of what it may be: {' '.join(_alternatives(error))}"
        case _:
            broken = f"{error.validator} {_quote(rule)}"
            return f"{_name(field)} is {_quote(given)}, which breaks its rule: {broken}."


def _missing(
    field: str, required: Any, value: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[str]:
    properties = schema.get("properties", {})
    for name in required:
        if name not in value:
            declared = properties.get(name)
            kinds = declared.get("type") if isinstance(declared, Mapping) else None
            wanted = f"; it must be {_kinds(kinds)}" if kinds else ""
            yield f"`{_join(field, name)}` is missing{wanted}."


def _alternatives(error: ValidationError) -> Iterator[str]:
    """What each alternative lacks; where one should fit and several do, that."""
    if not error.context:
        yield "it is more than one of them."
    for inner in (error.context or [])[:3]:
        yield _explain(inner)


def _kinds(types: str | list[str]) -> str:
    return " or ".join(_KINDS.get(it, it) for it in ([types] if isinstance(types, str) else types))


def _name(field: str) -> str:
    return f"`{field}`" if field else "The object of arguments"


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _quote(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
