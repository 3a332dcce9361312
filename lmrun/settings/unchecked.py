"""What JSON schemas ask for that lmrun cannot check: patterns that no engine matches in linear
time, and rules about what other rules have not looked at. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import StringConstraints, TypeAdapter
from pydantic_core import SchemaError

UNCHECKED = ("unevaluatedProperties", "unevaluatedItems")


def find_unchecked(schema: Any) -> str | None:
    """What a schema asks for that is not checked; None when there is nothing."""
    level = [schema]
    while level:
        parts = [part for part in level if isinstance(part, dict | list)]
        level = [it for part in parts for it in (part.values() if isinstance(part, dict) else part)]
        for part in (part for part in parts if isinstance(part, dict)):
            for keyword in UNCHECKED:
                if keyword in part:
                    return f"`{keyword}`"
            patterns = [part.get("pattern"), *_keys(part.get("patternProperties"))]
            for pattern in patterns:
                if isinstance(pattern, str) and compile_pattern(pattern) is None:
                    return f"the pattern {pattern!r}"
    return None


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> TypeAdapter[str] | None:
    """What finds it anywhere in a text, in linear time; None: nothing does."""
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError:
        return None


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []
