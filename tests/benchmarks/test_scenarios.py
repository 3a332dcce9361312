"""The scenarios' own arithmetic, and that they agree with their table."""

from __future__ import annotations

import pytest

from benchmarks.answers import Answer
from benchmarks.prompts import make_text
from benchmarks.scenarios.index import SCENARIOS
from benchmarks.scenarios.long_prompt import find_percentile, split_gaps


def make_answer(*times: float, sent_at: float = 0.0) -> Answer:
    return Answer(sent_at, times, times[-1], "", "length", {})


@pytest.mark.parametrize("name", SCENARIOS)
def test_bars_are_about_figures_that_are_measured(name: str) -> None:
    scenario = SCENARIOS[name]
    keys = {figure.key for figure in scenario.figures}
    wanted = {bar.figure for bar in scenario.bars} | {bar.against for bar in scenario.bars}
    assert wanted - {""} <= keys


def test_texts_have_the_wanted_length_and_depend_on_their_seed() -> None:
    assert len(make_text(1500, "a").split()) == 1500
    assert make_text(20, "a") == make_text(20, "a") != make_text(20, "b")


def test_gaps_are_split_at_the_arrival_of_the_long_prompt() -> None:
    answer = make_answer(1.0, 2.0, 5.0, 6.0, 8.0, sent_at=10.0)
    assert split_gaps([answer], begin=13.0, end=16.0) == ([1.0], [3.0, 1.0])


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert find_percentile([float(it) for it in range(100, 0, -1)], share) == value
