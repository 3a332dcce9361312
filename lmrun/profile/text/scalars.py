"""Unquoted YAML values by the core schema of YAML 1.2. It knows no document around them.

https://yaml.org/spec/1.2.2/#1032-tag-resolution, with one difference: a decimal with leading
zeros (`0777`) stays text, because YAML 1.1 reads it as octal and 1.2 as decimal.
"""

from __future__ import annotations

import re

from lmrun.profile.text.nodes import ScalarValue

MAX_NUMBER_LENGTH = 64

_WORDS: dict[str, ScalarValue] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMBER = re.compile(
    r"(?P<decimal>[-+]?(?:0|[1-9][0-9]*))"
    r"|0o(?P<octal>[0-7]+)"
    r"|0x(?P<hexadecimal>[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)


def parse_scalar(text: str) -> ScalarValue:
    """`"12"` → 12, `"no"` → `"no"`. Raises ValueError for a number of absurd length."""
    if text in _WORDS:
        return _WORDS[text]
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    if len(text) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number may have at most {MAX_NUMBER_LENGTH} characters")
    if match["decimal"]:
        return int(text)
    if match["octal"]:
        return int(match["octal"], 8)
    if match["hexadecimal"]:
        return int(match["hexadecimal"], 16)
    return float(text)
