"""What a docstring says of a function and of its parameters, in Google's, NumPy's or Sphinx's
style. Pure; it knows no function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass, field

_GOOGLE_HEADER = re.compile(r"(Args|Arguments|Parameters|Params):\s*")
_GOOGLE_ENTRY = re.compile(r"\s+\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?\s*:\s*(?P<text>.*)")
_NUMPY_HEADER = re.compile(r"(Parameters|Other Parameters)\s*")
_NUMPY_ENTRY = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?::.*)?")
_RULE = re.compile(r"-{3,}\s*")
_SPHINX_ENTRY = re.compile(r":param\s+(?:[^:]*\s)?\*{0,2}(?P<name>\w+)\s*:\s*(?P<text>.*)")
_SPHINX_TYPE = re.compile(r":type\s+\w+\s*:.*")


@dataclass(slots=True)
class Documentation:
    """`text`: everything but what is said of parameters."""

    text: str
    parameters: dict[str, str] = field(default_factory=dict)


def read_docstring(docstring: str | None, names: Collection[str]) -> Documentation:
    """`names`: the parameters that the function has; of others nothing is kept."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    kept: list[str] = []
    found: dict[str, str] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        if _GOOGLE_HEADER.fullmatch(line):
            end = _end_of_block(lines, at + 1)
            found |= _read_entries(lines[at + 1 : end], _GOOGLE_ENTRY)
        elif _NUMPY_HEADER.fullmatch(line) and _is_rule(lines, at + 1):
            end = _end_of_section(lines, at + 2)
            found |= _read_entries(lines[at + 2 : end], _NUMPY_ENTRY)
        elif _SPHINX_ENTRY.match(line) or _SPHINX_TYPE.match(line):
            end = _end_of_block(lines, at + 1)
            found |= _read_entries(lines[at:end], _SPHINX_ENTRY)
        else:
            kept.append(line)
            end = at + 1
        at = end
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    return Documentation(text, {name: said for name, said in found.items() if name in names})


def _read_entries(lines: list[str], entry: re.Pattern[str]) -> dict[str, str]:
    """What is said of each name. A line further in goes on with the one before."""
    found: dict[str, list[str]] = {}
    margin = min((_indent(line) for line in lines if line.strip()), default=0)
    name = None
    for line in lines:
        match = entry.fullmatch(line) if _indent(line) == margin else None
        if match is not None:
            name = match["name"]
            found[name] = [match.groupdict().get("text") or ""]
        elif name is not None:
            found[name].append(line.strip())
    return {name: " ".join(said).strip() for name, said in found.items() if any(said)}


def _end_of_block(lines: list[str], at: int) -> int:
    """The first line behind `at` that is not further in than the margin."""
    while at < len(lines) and (not lines[at].strip() or _indent(lines[at]) > 0):
        at += 1
    return at


def _end_of_section(lines: list[str], at: int) -> int:
    """The next header with a rule below, or the end."""
    while at < len(lines) and not (lines[at].strip() and _is_rule(lines, at + 1)):
        at += 1
    return at


def _is_rule(lines: list[str], at: int) -> bool:
    return at < len(lines) and _RULE.fullmatch(lines[at]) is not None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
