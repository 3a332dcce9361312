"""How many tokens are worth a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.llama_cpp.speculation.lengths import Acceptance, Retry, choose_length
from tests.engines.llama_cpp.speculation.measured import FREE, MEASURED, make_costs


def steady(rate: float) -> Acceptance:
    return Acceptance((), (rate,))


@pytest.mark.parametrize(
    ("rate", "milliseconds", "most", "length"),
    [
        (0.9, FREE, 8, 8),
        (0.9, FREE, 0, 0),
        (1.0, MEASURED, 16, 16),
        (0.6, MEASURED, 16, 0),
        (0.0, FREE, 16, 0),
        (0.9, {}, 16, 0),
    ],
)
def test_the_length_follows_the_odds_and_the_costs(
    rate: float, milliseconds: dict[int, float], most: int, length: int
) -> None:
    assert choose_length(steady(rate), 0, most, make_costs(milliseconds), 1) == length


@given(st.floats(0, 1), st.integers(0, 32), st.integers(1, 20), st.floats(0, 0.01))
def test_no_other_length_is_faster(rate: float, most: int, rows: int, guess_s: float) -> None:
    costs, acceptance = make_costs(MEASURED), steady(rate)
    seconds = costs.read(rows, most + 1)

    def speed(length: int) -> float:
        expected = rows + sum(rate**count for count in range(1, length + 1))
        return expected / (seconds[length] + length * guess_s)

    chosen = choose_length(acceptance, 0, most, costs, rows, guess_s)
    likely = [length for length in range(most + 1) if rate**length >= 0.02]
    assert speed(chosen) == pytest.approx(max(speed(length) for length in likely))


def test_making_a_guess_is_part_of_its_price() -> None:
    costs = make_costs(FREE)
    assert choose_length(steady(0.8), 0, 8, costs, 1) == 8
    assert choose_length(steady(0.8), 0, 8, costs, 1, guess_s=0.002) in range(1, 8)
    assert choose_length(steady(0.8), 0, 8, costs, 1, guess_s=0.005) == 0


def test_a_guess_may_begin_doubtful_and_become_sure() -> None:
    acceptance = Acceptance((2, 8), (0.0, 0.7, 1.0))
    assert choose_length(acceptance, 9, 16, make_costs(MEASURED), 1) == 16
    assert choose_length(acceptance, 7, 16, make_costs(MEASURED), 1) == 16
    assert choose_length(acceptance, 3, 16, make_costs(MEASURED), 1) == 0
    assert choose_length(acceptance, 2, 16, make_costs(MEASURED), 1) == 0


def test_acceptance_is_learned_where_it_was_seen() -> None:
    acceptance = Acceptance((2,), (0.5, 0.5))
    acceptance.learn(1, 3, missed=True)
    assert acceptance.rate(2) == pytest.approx(6 / 10, abs=0.01)
    assert acceptance.rate(3) == pytest.approx(5 / 10, abs=0.01)
    for _ in range(200):
        acceptance.learn(3, 0, missed=True)
    assert acceptance.rate(3) < 0.05
    assert acceptance.rate(1) == pytest.approx(6 / 10, abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=30))
def test_a_rate_is_a_probability(seen: list[tuple[int, int, bool]]) -> None:
    acceptance = Acceptance((2, 8), (0.0, 0.5, 1.0))
    for confidence, right, missed in seen:
        acceptance.learn(confidence, right, missed=missed)
    assert all(0 <= acceptance.rate(confidence) <= 1 for confidence in range(45))


def test_what_does_not_pay_is_tried_ever_more_rarely() -> None:
    retry = Retry()
    due = [time for time in range(1, 5000) if retry.is_due()]
    assert due == [32, 96, 224, 480, 992, 2016, 3040, 4064]
    retry.reset()
    assert [retry.is_due() for _ in range(32)] == [False] * 31 + [True]
