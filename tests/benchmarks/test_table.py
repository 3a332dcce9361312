"""The table as Markdown, JSON and terminal lines."""

from __future__ import annotations

import json

import pytest

from benchmarks.results import Bar, Figure, Result
from benchmarks.table import BEGIN, END, insert, render_json, render_lines, render_markdown

FIGURES = (
    Figure("lmrun.wall", "lmrun, wall", "tok/s"),
    Figure("peer.wall", "peer, wall", "tok/s", prefill=False),
)
BARS = (Bar("lmrun.wall", "peer.wall", at_least=1.0),)
REPEATS = ({"lmrun.wall": 90.0, "peer.wall": 100.0}, {"lmrun.wall": 80.0, "peer.wall": 100.0})
MEASURED = Result("streams", "2 streams", "flash attention on", FIGURES, BARS, REPEATS)
MISSING = Result("later", "something", "flash attention on", FIGURES, unavailable="not supported")


def test_every_row_states_setup_and_whether_prefill_counts() -> None:
    rows = render_markdown([MEASURED], "conditions").splitlines()[4:]
    assert [row.rsplit("|", 2)[1].strip() for row in rows if row] == [
        "flash attention on, prefill counts",
        "flash attention on, prefill does not count",
    ]


def test_a_row_holds_median_ratio_bar_and_verdict() -> None:
    row = render_markdown([MEASURED], "conditions").splitlines()[4]
    assert "| 85.0 tok/s | 0.85 x peer, wall | ≥ 1 | **missed** |" in row


def test_a_contender_that_was_left_out_has_no_row() -> None:
    alone = Result("streams", "2 streams", "", FIGURES, BARS, [{"lmrun.wall": 90.0}])
    assert "peer" not in render_markdown([alone], "conditions")


@pytest.mark.parametrize("render", [render_lines, lambda it: render_markdown([it], "conditions")])
def test_what_is_missing_says_why(render: object) -> None:
    assert callable(render)
    assert "not available yet: not supported" in render(MISSING)


def test_json_holds_every_repeat_and_what_was_judged() -> None:
    document = json.loads(render_json([MEASURED, MISSING], {"cores": 2}))
    measured, missing = document["scenarios"]
    assert document["cores"] == 2
    assert measured["figures"][0]["repeats"] == [90.0, 80.0]
    assert measured["bars"][0]["met"] is False
    assert missing["unavailable"] == "not supported"


def test_the_table_replaces_what_stood_between_the_markers() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = insert(document, "new\n")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert insert(once, "new\n") == once


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="markers"):
        insert("no table here", "new")
