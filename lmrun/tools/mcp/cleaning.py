"""What a server says of itself, made fit for a model: a model reads no more than a person sees.

Pure; it knows no protocol.
"""

from __future__ import annotations

from typing import Any

from lmrun.tools.mcp.pins.definitions import is_hidden


def clean(text: str) -> str:
    """`text` without zero-width, bidirectional and control characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(it for it in text if not is_hidden(it))


def clean_values(value: Any) -> Any:
    """JSON with every text in it cleaned, but for the names in objects."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {name: clean_values(member) for name, member in value.items()}
    if isinstance(value, list):
        return [clean_values(member) for member in value]
    return value


def has_clean_names(value: Any) -> bool:
    """Whether nothing is hidden in the names of all objects in `value`."""
    if isinstance(value, dict):
        return all(clean(it) == it and has_clean_names(inner) for it, inner in value.items())
    return all(map(has_clean_names, value)) if isinstance(value, list) else True


def clean_line(text: str, limit: int) -> str:
    """`text` as one line of at most `limit` characters."""
    line = " ".join(clean(text[: 4 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
