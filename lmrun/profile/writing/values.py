"""Plain data → YAML on one line. It knows no document around it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from lmrun.profile.text.scalars import parse_scalar
from lmrun.profile.text.strict_yaml import FORBIDDEN

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@+-]*")


def write_value(value: Any, *, quoted: bool = False) -> str:
    """`{"ratio": "off"}` → `{ratio: off}`; `quoted`: every text in quotes, as JSON has it.

    Dicts with text as keys, lists, tuples and scalars.
    """
    if isinstance(value, dict):
        pairs = (
            f"{write_text(key, quoted=quoted)}: {write_value(item, quoted=quoted)}"
            for key, item in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(write_value(item, quoted=quoted) for item in value) + "]"
    if isinstance(value, str):
        return write_text(value, quoted=quoted)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return json.dumps(value)


def write_text(text: str, *, quoted: bool = False) -> str:
    """As it is where nobody can take it for anything else, otherwise in double quotes."""
    if not quoted and _PLAIN.fullmatch(text) and isinstance(parse_scalar(text[:64]), str):
        return text
    escaped = json.dumps(text, ensure_ascii=False)
    return FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04X}", escaped)
