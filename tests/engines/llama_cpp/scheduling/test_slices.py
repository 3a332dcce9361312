"""The share of prompts in a step: pure, so it is told what steps cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.llama_cpp.scheduling.slices import (
    FIRST_SLICE,
    PROBE_EVERY,
    SHORTEST_EXACT,
    UNSEEN_S,
    Pace,
    choose_slice,
    may_gather,
    observe,
    share,
)

MOST_RATIO = 3.0
"""What a step with prompts may cost, in steps that only decode."""


def simulate(decode_s: float, token_s: float, steps: int = 30, most: int = 512) -> list[float]:
    """Seconds of mixed steps on a machine with these costs, after some decode-only steps."""
    pace, taken_s = Pace(), []
    for _ in range(3):
        pace = observe(pace, rows=1, prompt_tokens=0, seconds=decode_s)
    for _ in range(steps):
        taken = choose_slice(pace, 1, most)
        seconds = decode_s + token_s * taken
        taken_s.append(seconds)
        pace = observe(pace, rows=1, prompt_tokens=taken, seconds=seconds)
    return taken_s


@pytest.mark.parametrize(
    ("decode_ms", "token_ms"), [(5, 0.56), (8, 4.0), (40, 4.0), (10, 0.02), (100, 90), (20, 15)]
)
def test_mixed_steps_stay_within_three_decode_steps_or_what_nobody_sees(
    decode_ms: float, token_ms: float
) -> None:
    taken_s = simulate(decode_ms / 1e3, token_ms / 1e3)
    most = max(MOST_RATIO * decode_ms / 1e3, UNSEEN_S)
    assert all(seconds <= most for seconds in taken_s[1:])


@pytest.mark.parametrize(("rows", "decode_ms"), [(1, 5.2), (4, 16), (8, 29)])
def test_a_pass_of_its_own_is_no_reason_for_ever_smaller_slices(
    rows: int, decode_ms: float
) -> None:
    """Separate caches on two cores: a pass takes as long as one row, then 2 ms a token."""
    pace, slices, longest = Pace(apart=True), [], 0.0
    most = max(MOST_RATIO * decode_ms / 1e3, UNSEEN_S)
    pace = observe(pace, rows=rows, prompt_tokens=0, seconds=decode_ms / 1e3)
    for _ in range(30):
        taken = choose_slice(pace, rows, 128)
        seconds = (decode_ms + 5.2 + 2 * taken) / 1e3
        pace = observe(pace, rows=rows, prompt_tokens=taken, seconds=seconds)
        slices.append(taken)
        longest = max(longest, seconds) if len(slices) > 1 else 0.0
    assert longest <= most
    assert slices[-1] == slices[-2] >= {1: 6, 4: 7, 8: 14}[rows]


def test_a_cheap_prefill_gets_most_of_what_it_may_take() -> None:
    assert simulate(0.020, 0.0004)[-1] > 2.2 * 0.020
    assert simulate(0.002, 0.0001)[-1] > 0.9 * UNSEEN_S


def test_the_first_slice_is_small_and_nothing_grows_more_than_twofold() -> None:
    pace = Pace()
    assert choose_slice(pace, 1, 512) == FIRST_SLICE
    pace = observe(pace, rows=1, prompt_tokens=0, seconds=0.01)
    pace = observe(pace, rows=1, prompt_tokens=16, seconds=0.01)
    assert choose_slice(pace, 1, 512) == 2 * FIRST_SLICE


def test_a_single_disturbed_step_does_not_widen_slices_much() -> None:
    pace = Pace(decode_s={1: 0.01}, token_s=0.002, largest=64)
    disturbed = observe(pace, rows=1, prompt_tokens=0, seconds=1.0)
    assert choose_slice(disturbed, 1, 512) <= choose_slice(pace, 1, 512) + 1


def test_fewer_streams_make_smaller_slices_at_once() -> None:
    pace = Pace(decode_s={8: 0.4}, token_s=0.02, largest=64)
    assert choose_slice(pace, 1, 512) < choose_slice(pace, 8, 512) / 4


@pytest.mark.parametrize("slower", [1.3, 1.5, 2.0, 4.0])
def test_prompts_do_not_creep_when_all_has_become_slower(slower: float) -> None:
    """Longer contexts, fewer threads: what was learned does not hold any more."""
    pace, taken = Pace(apart=True), []
    for streams in (1, 3):
        pace = observe(pace, rows=streams, prompt_tokens=0, seconds=0.005 * streams)
    pace = observe(pace, rows=0, prompt_tokens=100, seconds=0.2)
    for step in range(1, 200):
        tokens = 0 if step % PROBE_EVERY == 0 else choose_slice(pace, 3, 128)
        seconds = slower * (0.015 + (0.005 + 0.002 * tokens) * (tokens > 0))
        pace = observe(pace, rows=3, prompt_tokens=tokens, seconds=seconds)
        taken.append(tokens)
    assert sum(taken[-48:]) > 48 * 5


def test_a_slice_that_costs_much_besides_its_tokens_is_not_made_ever_shorter() -> None:
    """As deep in a long prompt, whose beginning each slice reads again."""
    pace, taken = Pace(), []
    for streams in (1, 4):
        pace = observe(pace, rows=streams, prompt_tokens=0, seconds=0.040 * streams)
    for _ in range(20):
        pace = observe(pace, rows=4, prompt_tokens=100, seconds=0.160 + 100 * 0.002)
    for _ in range(50):
        taken.append(choose_slice(pace, 4, 128))
        pace = observe(pace, rows=4, prompt_tokens=taken[-1], seconds=0.460 + taken[-1] * 0.002)
    assert min(taken) >= 8


def test_more_streams_at_once_make_larger_slices_at_once() -> None:
    """What one stream teaches holds for one: six of them are no disturbed step."""
    pace = Pace()
    for _ in range(20):
        pace = observe(pace, rows=1, prompt_tokens=0, seconds=0.005)
    pace = observe(pace, rows=0, prompt_tokens=100, seconds=0.2)
    pace = observe(pace, rows=6, prompt_tokens=0, seconds=0.023)
    for _ in range(5):
        pace = observe(pace, rows=6, prompt_tokens=14, seconds=0.023 + 14 * 0.002)
    assert choose_slice(pace, 6, 128) == 14


def test_steps_that_always_hold_prompts_do_not_make_tokens_seem_dear() -> None:
    pace = observe(Pace(), rows=1, prompt_tokens=0, seconds=0.005)
    pace = observe(pace, rows=0, prompt_tokens=100, seconds=0.2)
    for _ in range(20):
        pace = observe(pace, rows=6, prompt_tokens=2, seconds=0.027)
    assert pace.token_s == pytest.approx(0.002)


def test_a_first_step_that_was_disturbed_is_not_believed() -> None:
    pace = observe(Pace(), rows=2, prompt_tokens=0, seconds=0.010)
    pace = observe(pace, rows=3, prompt_tokens=0, seconds=0.500)
    assert pace.estimate_decode(3) < 0.019
    assert pace.estimate_decode(1) == pytest.approx(0.005)
    assert pace.estimate_decode(9) == pace.estimate_decode(3)


@given(st.integers(0, 64), st.integers(1, 256), st.floats(0, 10), st.integers(1, 512))
def test_a_slice_is_never_empty_and_never_too_large(
    rows: int, prompt_tokens: int, seconds: float, most: int
) -> None:
    pace = observe(Pace(), rows=rows, prompt_tokens=0, seconds=seconds)
    pace = observe(pace, rows=rows, prompt_tokens=prompt_tokens, seconds=seconds)
    assert 1 <= choose_slice(pace, max(rows, 1), most) <= most


@pytest.mark.parametrize(
    ("remaining", "budget", "expected"),
    [
        ([5], 16, [5]),
        ([100], 16, [16]),
        ([17], 16, [9]),
        ([23], 16, [15]),
        ([24], 16, [16]),
        ([10, 10], 16, [10, 6]),
        ([16, 50], 16, [16, 0]),
        ([3, 4, 5], 512, [3, 4, 5]),
        ([9], 8, [8]),
        ([], 16, []),
    ],
)
def test_prompts_share_a_step_in_order(
    remaining: list[int], budget: int, expected: list[int]
) -> None:
    assert share(remaining, budget) == expected


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(1, 512))
def test_a_step_takes_something_and_not_more_than_its_budget(
    remaining: list[int], budget: int
) -> None:
    taken = share(remaining, budget)
    assert 1 <= sum(taken) <= budget
    assert all(0 <= got <= rest for got, rest in zip(taken, remaining, strict=True))


@given(st.integers(1, 2000), st.integers(16, 512))
def test_no_prompt_is_cut_where_results_would_depend_on_the_cut(length: int, budget: int) -> None:
    rest, parts = length, []
    while rest:
        (taken,) = share([rest], budget)
        parts.append(taken)
        rest -= taken
    assert len(parts) == 1 or min(parts) >= SHORTEST_EXACT


@pytest.mark.parametrize(
    ("generated", "remaining", "held", "gathers"),
    [
        ([1, 1], 100, 0, True),
        ([1, 2], 100, 0, False),
        ([1], 4 * 32, 3, True),
        ([1], 4 * 32 + 1, 0, False),
        ([1], 100, 4, False),
    ],
)
def test_streams_that_have_just_begun_wait_for_short_prompts_a_while(
    generated: list[int], remaining: int, held: int, gathers: bool
) -> None:
    assert may_gather(generated, remaining, chunk=32, held=held) is gathers
