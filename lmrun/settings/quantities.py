"""Durations, sizes and shares with their units (`60m`, `32MiB`, `80%`). It knows no field that uses
them."""

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
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%")
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


def parse_limit(value: Any) -> float | int:
    """`"80%"` → 0.8, a share of what there is; `"4GiB"` → 4294967296 bytes. Raises ValueError."""
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        try:
            return parse_size(value)
        except ValueError:
            raise ValueError("must be a share like 80%, or a size like 12GiB") from None
    share = float(match[1]) / 100
    if not 0 < share <= 1:
        raise ValueError("a share must be more than 0% and at most 100%")
    return share


def format_limit(limit: float | int) -> str:
    """0.8 → `"80%"`, 33554432 → `"32MiB"`; `parse_limit` reads both."""
    return f"{limit * 100:.10g}%" if isinstance(limit, float) else format_size(limit)


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
Limit = Annotated[
    float | int,
    BeforeValidator(parse_limit),
    PlainSerializer(format_limit, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^({_SHARE.pattern}|{_SIZE.pattern})$",
            "examples": ["80%", "12GiB"],
        }
    ),
]
"""A share of something as float, or bytes as int."""
