"""The arguments of a call as a policy sees them: one text for equal ones, and values by path. It
knows no rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class ArgumentsUnreadable(Exception):
    """Nested too deeply, or with numbers too large, to be written down."""


def canonical_json(value: Any) -> str:
    """The same text for equal JSON: keys in order, no spaces, `1.0` as `1`. Raises
    ArgumentsUnreadable."""
    try:
        return json.dumps(_normal(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (RecursionError, TypeError, ValueError):
        raise ArgumentsUnreadable from None


def digest_arguments(arguments: Mapping[str, Any]) -> str:
    """The SHA-256 of their canonical JSON. Raises ArgumentsUnreadable."""
    # Models write whatever they like, halves of surrogate pairs included.
    text = canonical_json(dict(arguments)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()


def to_text(value: Any) -> str:
    """A value as a pattern sees it: text as it is, all else as canonical JSON. Raises
    ArgumentsUnreadable."""
    return value if isinstance(value, str) else canonical_json(value)


def find_values(arguments: Mapping[str, Any], path: str) -> list[Any]:
    """Every value that `path` may mean. `a.b` is `b` inside `a`, inside each element where `a` is a
    list, and an argument that is called just so. Raises ArgumentsUnreadable."""
    try:
        return list(_find(arguments, path))
    except RecursionError:
        raise ArgumentsUnreadable from None


def _find(value: Any, path: str) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if path in value:
            yield value[path]
        cut = path.find(".")
        while cut > 0:
            if path[:cut] in value:
                yield from _find(value[path[:cut]], path[cut + 1 :])
            cut = path.find(".", cut + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _find(item, path)


def _normal(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(item) for item in value]
    return value
