"""How results of checks look: for people, and as JSON. It knows neither server nor file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from lmrun.checks.values import CheckResult, CheckStatus, Failure
from lmrun.cli.failures import count
from lmrun.cli.terminal import Style, paint, printable

_LOOKS: dict[CheckStatus, tuple[str, Style]] = {
    "passed": ("✓", "good"),
    "failed": ("✗", "bad"),
    "stale": ("?", "change"),
    "error": ("!", "bad"),
}
_INDENT = "    "
_DIFF_STYLES: dict[str, Style] = {"-": "bad", "+": "good"}


def render_result(result: CheckResult) -> str:
    """`✓ capital (assistant, 0.8 s)`, and beneath it what is wrong."""
    symbol, style = _LOOKS[result.status]
    head = (
        f"{paint(symbol, style)} {result.name} ({printable(result.model)}, {result.seconds:.1f} s)"
    )
    lines = [line for failure in result.failures for line in _render_failure(failure)]
    first = [f"{_INDENT}{line}" for line in printable(result.message).splitlines()]
    return "\n".join([head, *first, *lines])


def _render_failure(failure: Failure) -> list[str]:
    head = f"{_INDENT}{failure.expectation}: {printable(failure.message)}"
    return [head, *(f"{_INDENT}  {_paint_line(line)}" for line in failure.diff.splitlines())]


def _paint_line(line: str) -> str:
    style = _DIFF_STYLES.get(line[:1], "dim")
    return paint(printable(line), style)


def render_totals(results: Sequence[CheckResult]) -> str:
    """`3 checks: 2 passed, 1 failed.`"""
    numbers = Counter(result.status for result in results)
    words: dict[CheckStatus, str] = {
        "passed": "passed",
        "failed": "failed",
        "stale": "without a golden answer for this fingerprint",
        "error": "not answered",
    }
    parts = [f"{numbers[status]} {word}" for status, word in words.items() if numbers[status]]
    return f"{paint(count(len(results), 'check') + ':', 'strong')} {', '.join(parts)}."


def encode_results(results: Sequence[CheckResult], place: str) -> str:
    """All of it. `place`: whether a `running` or a `temporary` server was asked."""
    content = {"server": place, "checks": results}
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
