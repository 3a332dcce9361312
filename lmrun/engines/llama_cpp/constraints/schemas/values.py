"""The values of single keywords: of the right kind, in bounds, exactly representable.

It knows no schema as a whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from lmrun.engines.llama_cpp.constraints.patterns import check_pattern
from lmrun.engines.llama_cpp.constraints.refusals import refuse
from lmrun.engines.llama_cpp.constraints.schemas import keywords
from lmrun.settings.structured import MAX_SCHEMA_DEPTH

MAX_EXACT_INTEGER = 2**53
"""llguidance computes with doubles: whole numbers beyond it are rounded."""


def require_shallow(value: Any, at: str) -> None:
    """Raises InvalidParameter when `value` is nested deeper than MAX_SCHEMA_DEPTH."""
    level = [value]
    for _ in range(MAX_SCHEMA_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise refuse(f"the schema is nested deeper than {MAX_SCHEMA_DEPTH}", at=at)


def require_list(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise refuse(f"an array is needed, not {show(value)}", at=at)
    return value


def require_text(value: Any, at: str) -> str:
    """A string that UTF-8 can hold."""
    if not isinstance(value, str):
        raise refuse(f"a string is needed, not {show(value)}", at=at)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise refuse("a string holds a lone surrogate", at=at)
    return value


def require_local(value: Any, at: str) -> str:
    """A `$ref` into the same schema, as the path that schemas have here."""
    reference = require_text(value, at)
    if not reference.startswith("#"):
        raise refuse(
            f"$ref `{reference[:100]}` leads out of the schema; nothing is fetched",
            at=at,
            hint="Put what it refers to under `$defs`.",
        )
    if reference in ("#", "#/"):
        return "#"
    if not reference.startswith("#/") or any(mark in reference for mark in "~%"):
        raise refuse(
            f"$ref `{reference[:100]}` cannot be followed; plain paths such as `#/$defs/name` can",
            at=at,
        )
    return reference


def require_dialect(value: Any, at: str) -> None:
    if not any(dialect in require_text(value, at) for dialect in keywords.DIALECTS):
        raise refuse(
            f"`$schema` {show(value)} names a dialect that is not known",
            at=at,
            hint=f"Known are {', '.join(keywords.DIALECTS)}.",
        )


def count_values(options: Iterable[Any], at: str) -> int:
    """How many values `options` hold, those inside of others included."""
    count = 0
    waiting = list(options)
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            for name in value:
                require_text(name, at)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str):
            require_text(value, at)
        elif value is not None and not isinstance(value, bool):
            _require_number(value, at)
    return count


def is_enforced(keyword: str) -> bool:
    """Whether `check` knows this keyword."""
    return (
        keyword in keywords.COUNT_KEYWORDS
        or keyword in keywords.NUMBER_KEYWORDS
        or keyword in ("type", "required", "pattern", "format")
    )


def check(keyword: str, value: Any, at: str) -> Any:
    """The value of one of the keywords of `is_enforced`. Raises InvalidParameter."""
    if keyword in keywords.COUNT_KEYWORDS:
        return _require_count(keyword, value, at)
    if keyword in keywords.NUMBER_KEYWORDS:
        return _require_bound(keyword, value, at)
    if keyword == "type":
        return _require_types(value, at)
    if keyword == "required":
        return [require_text(name, at) for name in require_list(value, at)]
    if keyword == "pattern":
        return check_pattern(require_text(value, at), at)
    if require_text(value, at) not in keywords.FORMATS:
        known = ", ".join(sorted(keywords.FORMATS))
        raise refuse(
            f"`format` {show(value)} cannot be enforced", at=at, hint=f"Known are {known}."
        )
    return value


def count_steps(number: float) -> int:
    """The digits of a `multipleOf` as a whole number: 25 for 0.25."""
    _, digits, exponent = Decimal(str(number)).as_tuple()
    return int("".join(map(str, digits)) + "0" * max(int(exponent), 0))


def show(value: Any) -> str:
    """A value in a message: short, as JSON."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _require_count(keyword: str, value: Any, at: str) -> int:
    number = _require_number(value, at)
    most = keywords.COUNT_KEYWORDS[keyword]
    if number != int(number) or not 0 <= number <= most:
        raise refuse(f"`{keyword}` must be a whole number from 0 to {most}", at=at)
    return int(number)


def _require_bound(keyword: str, value: Any, at: str) -> int | float:
    number = _require_number(value, at)
    if keyword == "multipleOf" and number <= 0:
        raise refuse("`multipleOf` must be over 0", at=at)
    return number


def _require_number(value: Any, at: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(f"a number is needed, not {show(value)}", at=at)
    if isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        raise refuse("a whole number beyond 2^53 cannot be enforced exactly", at=at)
    if not math.isfinite(value):
        raise refuse("a number must be finite", at=at)
    return value


def _require_types(value: Any, at: str) -> Any:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name in keywords.TYPES for name in names):
        known = ", ".join(sorted(keywords.TYPES))
        raise refuse(f"`type` must be one or several of {known}, not {show(value)}", at=at)
    return value
