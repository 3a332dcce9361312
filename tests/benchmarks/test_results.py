"""Medians, ratios within repeats, and bars."""

from __future__ import annotations

import pytest

from benchmarks.results import Bar, Figure, Result


def make_result(*repeats: dict[str, float], bars: tuple[Bar, ...] = ()) -> Result:
    figures = (Figure("ours", "ours", "tok/s"), Figure("theirs", "theirs", "tok/s"))
    return Result("name", "title", "setup", figures, bars, repeats)


def test_a_figure_is_the_median_of_its_repeats() -> None:
    assert make_result({"ours": 1.0}, {"ours": 9.0}, {"ours": 2.0}).median_of("ours") == 2.0


def test_a_figure_that_nobody_gave_has_no_median() -> None:
    assert make_result({"ours": 1.0}).median_of("theirs") is None


def test_a_ratio_is_the_median_of_the_ratios_within_each_repeat() -> None:
    """The second repeat was three times as slow for both: the ratio of the medians is 1.5."""
    repeats = (
        {"ours": 30.0, "theirs": 20.0},
        {"ours": 10.0, "theirs": 10.0},
        {"ours": 40.0, "theirs": 40.0},
    )
    (verdict,) = make_result(*repeats, bars=(Bar("ours", "theirs", at_least=1.0),)).judge()
    assert (verdict.value, verdict.is_met) == (1.0, True)


@pytest.mark.parametrize(
    ("bar", "value", "is_met"),
    [
        (Bar("ours", at_least=0.97), 0.97, True),
        (Bar("ours", at_least=0.97), 0.96, False),
        (Bar("ours", at_most=0.25), 0.25, True),
        (Bar("ours", at_most=0.25), 0.26, False),
        (Bar("ours"), 0.0, True),
    ],
)
def test_a_bar_is_met_from_its_limit_on(bar: Bar, value: float, is_met: bool) -> None:
    (verdict,) = make_result({"ours": value}, bars=(bar,)).judge()
    assert verdict.is_met is is_met


def test_a_bar_against_a_contender_that_was_left_out_is_not_judged() -> None:
    assert make_result({"ours": 1.0}, bars=(Bar("ours", "theirs", at_least=1.0),)).judge() == []


def test_a_bar_reads_as_it_is_written_in_the_table() -> None:
    bars = Bar("a", at_least=2.5), Bar("a", at_most=150), Bar("a")
    assert [str(bar) for bar in bars] == ["≥ 2.5", "≤ 150", ""]
