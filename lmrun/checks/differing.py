"""Where two texts differ, in a few lines for people. Pure."""

from __future__ import annotations

import difflib

MAX_LINES = 20
MAX_WIDTH = 160
_BEFORE = 40


def show_difference(expected: str, got: str) -> str:
    """A unified diff without its head: `-` is expected, `+` is what came. Long lines are cut
    around the first difference; more than twenty lines are counted."""
    if "\n" not in expected and "\n" not in got:
        return _show_lines(expected, got)
    lines = list(difflib.unified_diff(expected.splitlines(), got.splitlines(), lineterm="", n=1))[
        2:
    ]
    if not lines:
        return "  only line breaks differ"
    more = len(lines) - MAX_LINES
    shown = [_cut(line, 0) for line in lines[:MAX_LINES]]
    return "\n".join([*shown, f"  … {more} more lines"] if more > 0 else shown)


def shorten(text: str) -> str:
    """The beginning of a text, on one line."""
    return _cut(text.replace("\n", "⏎"), 0)


def _show_lines(expected: str, got: str) -> str:
    start = max(0, _common_length(expected, got) - _BEFORE)
    return f"-{_cut(expected, start)}\n+{_cut(got, start)}"


def _common_length(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _cut(line: str, start: int) -> str:
    head = "…" if start else ""
    tail = "…" if len(line) - start > MAX_WIDTH else ""
    return f"{head}{line[start : start + MAX_WIDTH]}{tail}"
