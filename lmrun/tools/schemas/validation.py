"""Whether a value satisfies a schema that nobody vouches for: in bounded time, without fetching
anything. Pure; it knows no tool.

Patterns are matched by an engine that takes linear time; what it cannot match (looking around,
back references) is not checked here, nor are `unevaluatedProperties` and `unevaluatedItems`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from pydantic import ValidationError as PatternMissed
from referencing import Registry
from referencing.exceptions import Unresolvable

from lmrun.settings.unchecked import UNCHECKED, compile_pattern

MAX_RULES = 20_000
"""Rules that are looked at for one value: about a tenth of a second, in which nothing else runs."""

Rule = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class SchemaUnusable(Exception):
    """Nothing can be checked with it; the message says why."""


_left: ContextVar[int] = ContextVar("_left")


def find_errors(value: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    """Everything in `value` that breaks a rule of `schema`. Raises SchemaUnusable, also while it
    is iterated."""
    _left.set(MAX_RULES)
    try:
        # Only the root says which draft it is: another class would leave the limits behind.
        base = validator_for(dict(schema), default=Draft202012Validator)
        registry: Registry[Any] = Registry()
        validator = _bounded(base)(_without_drafts(schema), registry=registry)
        yield from validator.iter_errors(value)
    except SchemaUnusable:
        raise
    except Unresolvable as error:
        raise SchemaUnusable(
            f"the schema refers to {error.ref!r}, which it does not have"
        ) from None
    except RecursionError:
        raise SchemaUnusable("the schema is nested too deep") from None
    except Exception as error:  # whatever a schema that is none makes the library do
        raise SchemaUnusable(f"the schema is none ({type(error).__name__})") from None


@lru_cache(maxsize=8)
def _bounded(base: type[Validator]) -> type[Validator]:
    """`base` with a count of the rules it looks at, and without what may take forever."""
    rules: dict[str, Rule] = dict(base.VALIDATORS)
    replaced: dict[str, Rule] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    rules |= {name: rule for name, rule in replaced.items() if name in rules}
    rules = {name: rule for name, rule in rules.items() if name not in UNCHECKED}
    counted = {name: _count(rule) for name, rule in rules.items()}
    counted |= dict.fromkeys(set(UNCHECKED) & set(base.VALIDATORS), _accept)
    bounded: type[Validator] = extend(base, validators=counted)  # type: ignore[no-untyped-call]
    return bounded


def _count(rule: Rule) -> Rule:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = _left.get() - 1
        if left < 0:
            raise SchemaUnusable("there is too much to check; write less")
        _left.set(left)
        return rule(validator, value, instance, schema)

    return counted


def _accept(validator: Any, value: Any, instance: Any, schema: Any) -> None:
    return None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, Mapping):
        return
    for pattern, inner in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, inner: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, Mapping):
        return
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    extras = [
        name
        for name in instance
        if name not in known and not any(_matches(pattern, name) for pattern in patterns)
    ]
    if inner is False and extras:
        yield ValidationError(f"has unknown properties: {extras[:5]}")
    elif isinstance(inner, Mapping):
        for name in extras:
            yield from validator.descend(instance[name], inner, path=name)


def _unique_items(
    validator: Any, wanted: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list):
        texts = {json.dumps(item, sort_keys=True) for item in instance}
        if len(texts) < len(instance):
            yield ValidationError("has the same item twice")


def _matches(pattern: str, text: str) -> bool:
    """Whether it is found anywhere in `text`; yes where that cannot be told."""
    adapter = compile_pattern(pattern)
    if adapter is None:
        return True
    try:
        adapter.validate_python(text)
    except PatternMissed:
        return False
    return True


def _without_drafts(schema: Any) -> Any:
    """A copy in which no part says which draft it is."""
    if isinstance(schema, Mapping):
        return {
            key: _without_drafts(value)
            for key, value in schema.items()
            if not (key == "$schema" and isinstance(value, str))
        }
    return [_without_drafts(item) for item in schema] if isinstance(schema, list) else schema
