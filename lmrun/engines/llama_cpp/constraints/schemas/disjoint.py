"""Whether no value satisfies two of some schemas: what makes `oneOf` the same as `anyOf`.

It follows `$ref`, which llguidance's own proof does not, so that tagged unions are understood. It
answers yes only when it is certain.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from lmrun.engines.llama_cpp.constraints.schemas.keywords import TYPES
from lmrun.engines.llama_cpp.constraints.schemas.references import References

MAX_OPTIONS = 200
"""Every two are compared."""

Schema = dict[str, Any] | bool


def is_disjoint(options: Sequence[Schema], references: References) -> bool:
    """Whether every two of `options` exclude each other."""
    if len(options) > MAX_OPTIONS:
        return False
    resolved = [references.resolve(option) for option in options]
    return all(_exclude(left, right, references) for left, right in combinations(resolved, 2))


def _exclude(left: Schema, right: Schema, references: References) -> bool:
    if left is False or right is False:
        return True
    if not isinstance(left, dict) or not isinstance(right, dict):
        return False
    shared = _read_types(left) & _read_types(right)
    if not shared or _values_differ(left, right):
        return True
    return shared == {"object"} and _tags_differ(left, right, references)


def _read_types(schema: dict[str, Any]) -> set[str]:
    """JSON's types that may satisfy a schema; whole numbers are numbers."""
    names = schema.get("type", list(TYPES))
    types = {names} if isinstance(names, str) else set(names)
    return {"number" if name == "integer" else name for name in types}


def _read_values(schema: Schema) -> set[str] | None:
    """The only values that may satisfy a schema, as JSON; None when they are not listed."""
    if not isinstance(schema, dict):
        return None
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if listed is None or not all(isinstance(value, str) for value in listed):
        return None
    return {json.dumps(value) for value in listed}


def _values_differ(left: Schema, right: Schema) -> bool:
    mine, theirs = _read_values(left), _read_values(right)
    return mine is not None and theirs is not None and not mine & theirs


def _tags_differ(left: dict[str, Any], right: dict[str, Any], references: References) -> bool:
    """Whether a property that one of two objects must have tells them apart."""
    required = {*left.get("required", ()), *right.get("required", ())}
    mine, theirs = left.get("properties", {}), right.get("properties", {})
    return any(
        _values_differ(references.resolve(mine[name]), references.resolve(theirs[name]))
        for name in sorted(required & mine.keys() & theirs.keys())
    )
