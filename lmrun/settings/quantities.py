"""Durations and sizes with their units (`60m`, `32MiB`). It knows no field that uses them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(B|kB|KB|MB|GB|KiB|MiB|GiB)")
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_EXACT_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


def parse_duration(value: Any) -> float:
    """`"10m"` → 600.0 seconds. Raises ValueError for anything without a unit."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration needs a number and a unit, like 500ms, 10s, 5m, 1h or 2d")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(value: Any) -> int:
    """`"32MiB"` → 33554432 bytes. Raises ValueError for anything without a unit."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a size needs a number and a unit, like 512kB, 32MiB or 4GB")
    return int(float(match[1]) * _BYTES[match[2]])


def format_size(size: int) -> str:
    """33554432 → `"32MiB"`: exact, in the largest unit that allows it; `parse_size` reads it."""
    unit, factor = next(
        (name, factor)
        for name, factor in _EXACT_UNITS
        if (size and size % factor == 0) or factor == 1
    )
    return f"{size // factor}{unit}"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["10s"]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    # A dumped value must be one that can be validated again.
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$", "examples": ["32MiB"]}),
]
