"""JSON schemas as a judge needs them: is it one, does a value satisfy it. It knows no engine.

A schema refers to nothing outside itself: nothing is fetched.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

_REFERENCES = ("$ref", "$dynamicRef")


def find_schema_fault(schema: Any) -> str | None:
    """What is wrong with a schema, where; None when it is one. Its values are not quoted."""
    try:
        _choose_class(schema).check_schema(schema)
    except SchemaError as error:
        path = "/".join(map(str, error.absolute_path))
        return f"is no JSON schema: it is wrong at `{path}`" if path else "is no JSON schema"
    except RecursionError:
        return "is no JSON schema: it is nested too deep"
    if any(not reference.startswith("#") for reference in _find_references(schema)):
        return "refers to another document; a schema here refers to itself only (`#/$defs/…`)"
    return None


def find_fault(value: Any, schema: dict[str, Any] | bool) -> str | None:
    """Why `value` does not satisfy `schema`: the fault that explains most; None when it does."""
    try:
        error = best_match(_make_validator(schema).iter_errors(value))
    except Unresolvable as unresolvable:
        return f"the schema refers to {unresolvable.ref!r}, which it does not have"
    except RecursionError:
        return "it is nested too deep to be compared"
    if error is None:
        return None
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    )
    where = f"at `{path.removeprefix('.')}`: " if path else ""
    return f"{where}{error.message}"


def _make_validator(schema: dict[str, Any] | bool) -> Validator:
    registry: Registry[Any] = Registry()
    return _choose_class(schema)(schema, registry=registry)


def _choose_class(schema: Any) -> type[Validator]:
    return validator_for(schema, default=Draft202012Validator)


def _find_references(schema: Any) -> list[str]:
    found: list[str] = []
    level = [schema]
    while level:
        inner = [part for part in level if isinstance(part, dict | list)]
        level = [it for part in inner for it in (part.values() if isinstance(part, dict) else part)]
        found += [
            part[name]
            for part in inner
            if isinstance(part, dict)
            for name in _REFERENCES
            if isinstance(part.get(name), str)
        ]
    return found
