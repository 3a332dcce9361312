"""The curve of what decodes take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.llama_cpp.speculation.costs import CostCurve


def make_curve(points: dict[int, float]) -> CostCurve:
    curve = CostCurve()
    for tokens, seconds in points.items():
        curve.observe(tokens, seconds)
    return curve


@pytest.mark.parametrize(
    ("points", "first", "seconds"),
    [
        ({}, 1, []),
        ({1: 4.0}, 1, [4.0, 6.0, 8.0]),
        ({1: 4.0, 3: 8.0}, 1, [4.0, 6.0, 8.0]),
        ({3: 8.0, 1: 4.0}, 2, [6.0, 8.0, 8 + 4 / 3]),
        ({4: 8.0}, 1, [8.0, 8.0, 8.0]),
        ({1: 4.0, 2: 7.0, 5: 10.0}, 2, [7.0, 8.0, 9.0]),
    ],
)
def test_between_known_sizes_lies_a_line_and_beyond_them_a_low_guess(
    points: dict[int, float], first: int, seconds: list[float]
) -> None:
    assert make_curve(points).read(first, 3) == pytest.approx(seconds)


def test_a_known_size_falls_by_half_of_the_way_and_rises_slowly() -> None:
    curve = make_curve({2: 8.0})
    curve.observe(2, 4.0)
    assert curve.read(2, 1) == pytest.approx([6.0])
    curve.observe(2, 600.0)
    assert curve.read(2, 1) == pytest.approx([6.6])


def test_what_slows_one_size_down_slows_all() -> None:
    curve = make_curve({1: 4.0, 9: 20.0})
    for _ in range(40):
        curve.observe(1, 40.0)
    one, nine = curve.read(1, 9)[0], curve.read(9, 1)[0]
    assert one == pytest.approx(40, rel=0.05) and nine / one == pytest.approx(5, rel=0.25)


def test_one_disturbed_decode_changes_little() -> None:
    curve = make_curve({1: 4.0, 9: 20.0})
    curve.observe(1, 4000.0)
    assert curve.read(1, 1)[0] <= 4.4 and curve.read(9, 1)[0] <= 22
    for _ in range(10):
        curve.observe(1, 4.0)
    assert curve.read(1, 1)[0] == pytest.approx(4, rel=0.02)
    assert curve.read(9, 1)[0] == pytest.approx(20, rel=0.02)


def test_an_impossible_cost_is_not_believed() -> None:
    assert make_curve({1: 4.0, 2: 90.0}).read(2, 1) == pytest.approx([2 * 4 * 1.1])
    assert make_curve({1: 90.0, 4: 8.0}).read(1, 1) == [8.0]


def test_what_was_not_seen_for_long_is_forgotten() -> None:
    curve = make_curve({9: 1000.0, 1: 4.0})
    for _ in range(512):
        curve.observe(1, 4.0)
    assert curve.read(9, 1) == [pytest.approx(4 * (1 + 0.5 * 8))]


def test_whole_prompts_are_no_points_of_the_curve() -> None:
    assert make_curve({513: 9.0}).read(1, 1) == []


@given(
    st.dictionaries(st.integers(1, 300), st.floats(1e-4, 10), min_size=1),
    st.integers(1, 300),
    st.integers(0, 40),
)
def test_every_size_has_a_cost(points: dict[int, float], first: int, count: int) -> None:
    seconds = make_curve(points).read(first, count)
    assert len(seconds) == count and all(value >= min(points.values()) for value in seconds)
