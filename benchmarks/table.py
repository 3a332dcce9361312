"""Results as Markdown, JSON and lines for a terminal. Pure: text in, text out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.results import Figure, Result, Verdict

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
_HEAD = ("scenario", "figure", "median", "ratio", "bar", "", "setup")


def render_markdown(results: Sequence[Result], conditions: str) -> str:
    """One table for all scenarios, under one line that says how it was measured."""
    rows = [row for result in results for row in _render_rows(result)]
    lines = [_HEAD, tuple("---" for _ in _HEAD), *rows]
    return "\n".join([conditions, "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def render_json(results: Sequence[Result], conditions: dict[str, Any]) -> str:
    """Everything that was measured, every repeat too."""
    document = {**conditions, "scenarios": [_to_map(result) for result in results]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def render_lines(result: Result) -> str:
    """For a terminal, while the next scenario runs."""
    lines = [f"{result.name}: {result.title} ({result.setup})"]
    if result.unavailable:
        return f"{lines[0]}\n  not available yet: {result.unavailable}"
    for _, figure, value, ratio, bar, verdict, _ in _render_rows(result):
        lines.append(f"  {figure:<42}{value:>14}   {ratio:<40} {bar:<8}{verdict}")
    lines.append(f"  {len(result.repeats)} repeats, others took {result.disturbance:.0%} or less")
    return "\n".join(lines)


def insert(document: str, table: str) -> str:
    """`document` with the table between its markers replaced. Raises ValueError without them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def _render_rows(result: Result) -> Iterable[tuple[str, ...]]:
    if result.unavailable:
        text = f"not available yet: {result.unavailable}"
        yield (result.title, text, "", "", "", "", result.setup)
        return
    verdicts = result.judge()
    for figure in result.figures:
        value = result.median_of(figure.key)
        if value is None:
            continue
        mine = [verdict for verdict in verdicts if verdict.bar.figure == figure.key]
        prefill = "prefill counts" if figure.prefill else "prefill does not count"
        setup = f"{result.setup}, {prefill}"
        rows: Sequence[Verdict | None] = mine or [None]
        for number, verdict in enumerate(rows):
            shown = _show(value, figure) if number == 0 else ""
            yield (result.title, figure.title, shown, *_show_verdict(result, verdict), setup)


def _show(value: float, figure: Figure) -> str:
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f} {figure.unit}".strip()


def _show_verdict(result: Result, verdict: Verdict | None) -> tuple[str, str, str]:
    """Ratio, bar, and whether it is met."""
    if verdict is None:
        return ("", "", "")
    bar = verdict.bar
    titles = {figure.key: figure.title for figure in result.figures}
    ratio = f"{verdict.value:.2f} x {titles[bar.against]}" if bar.against else ""
    is_limit = bar.at_least is not None or bar.at_most is not None
    return (ratio, str(bar), ("met" if verdict.is_met else "**missed**") if is_limit else "")


def _to_map(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "title": result.title,
        "setup": result.setup,
        "unavailable": result.unavailable or None,
        "disturbance": round(result.disturbance, 3),
        "figures": [
            {
                "key": figure.key,
                "title": figure.title,
                "unit": figure.unit,
                "prefill": figure.prefill,
                "median": result.median_of(figure.key),
                "repeats": result.values_of(figure.key),
            }
            for figure in result.figures
        ],
        "bars": [
            {
                "figure": verdict.bar.figure,
                "against": verdict.bar.against or None,
                "at_least": verdict.bar.at_least,
                "at_most": verdict.bar.at_most,
                "value": verdict.value,
                "met": verdict.is_met,
            }
            for verdict in result.judge()
        ],
    }
