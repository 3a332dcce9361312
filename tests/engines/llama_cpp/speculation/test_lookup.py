"""Prompt lookup on a sequence that grows: what it guesses, and that it learns when not to."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from lmrun.engines.llama_cpp.speculation.base import Drafter, FirstOf
from lmrun.engines.llama_cpp.speculation.costs import CostCurve
from lmrun.engines.llama_cpp.speculation.lookup import PromptLookup
from tests.engines.llama_cpp.speculation.measured import MEASURED, make_costs

TEXT = [int(token) for token in np.random.default_rng(0).integers(0, 49_152, 200)]


@dataclass
class Run:
    """`decodes`: how many; `seconds`: what they took by `MEASURED`."""

    decodes: int = 0
    drafted: int = 0
    accepted: int = 0
    seconds: float = 0.0


def play(drafter: Drafter, prompt: list[int], answer: list[int], most: int = 16) -> Run:
    """Decode `answer` with the drafter's help, as a scheduler does."""
    run, costs = Run(), make_costs(MEASURED)
    tokens, done = np.array([*prompt, *answer], dtype=np.int32), len(prompt)
    while done < len(tokens):
        room = min(most, len(tokens) - done - 1)
        guess = drafter.propose(tokens[:done], room, costs, 1)
        right = 0
        while right < len(guess) and guess[right] == tokens[done + right]:
            right += 1
        if guess:
            drafter.observe(len(guess), right)
        done += right + 1
        run.decodes += 1
        run.drafted += len(guess)
        run.accepted += right
        run.seconds += costs.read(1 + len(guess), 1)[0]
    return run


def plain_seconds(tokens: int) -> float:
    return tokens * make_costs(MEASURED).read(1, 1)[0]


def test_a_repeated_text_with_one_change_takes_few_decodes() -> None:
    answer = [*TEXT[:100], 1, *TEXT[101:]]
    run = play(PromptLookup(), [*TEXT, 5], answer)
    assert run.accepted >= 160
    assert run.seconds < plain_seconds(len(answer)) / 1.5


def test_a_text_without_repetition_is_never_guessed() -> None:
    run = play(PromptLookup(), [5], TEXT)
    assert (run.decodes, run.drafted) == (len(TEXT), 0)


def test_misleading_repetitions_are_soon_left_alone() -> None:
    dice = random.Random(0)
    prompt = [dice.randrange(12) for _ in range(500)]
    answer = [dice.randrange(12) for _ in range(1000)]
    run = play(PromptLookup(), prompt, answer)
    assert run.seconds < 1.03 * plain_seconds(1000)


def test_it_learns_from_what_it_did_not_propose() -> None:
    lookup, costs = PromptLookup(), make_costs(MEASURED)
    loop = np.array([1, 2, 3, 4] * 40, dtype=np.int32)
    assert lookup.propose(loop[:6], 16, costs, 1) == []
    run = play(lookup, loop[:6].tolist(), loop[6:].tolist())
    assert run.accepted > 100


def test_guesses_grow_while_they_are_right_and_shrink_when_not() -> None:
    lookup, costs = PromptLookup(), make_costs({1: 5, 33: 5})
    tokens = np.array([*TEXT, *TEXT], dtype=np.int32)

    def guess(done: int) -> int:
        return len(lookup.propose(tokens[: len(TEXT) + done], 99, costs, 1))

    lengths = []
    for done in (20, 40, 60, 80, 100, 120):
        lengths.append(guess(done))
        lookup.observe(lengths[-1], lengths[-1])
    assert lengths == [2, 4, 8, 16, 32, 32]
    guess(140)
    lookup.observe(32, 5)
    assert guess(146) == 16


def test_nothing_is_guessed_before_a_decode_was_measured() -> None:
    assert PromptLookup().propose(np.array(TEXT + TEXT, dtype=np.int32), 16, CostCurve(), 1) == []


def test_a_guess_ends_before_an_image() -> None:
    tokens = np.array([*range(30), -7, -8, 99, *range(28)], dtype=np.int32)
    assert PromptLookup().propose(tokens, 16, make_costs({1: 5, 33: 5}), 1) == [28, 29]


def test_a_sequence_that_lost_its_beginning_is_read_again() -> None:
    lookup, costs = PromptLookup(), make_costs(MEASURED)
    lookup.propose(np.array([*TEXT, *TEXT[:20]], dtype=np.int32), 4, costs, 1)
    shifted = np.array([*TEXT[50:], *TEXT[50:90]], dtype=np.int32)
    guess = lookup.propose(shifted, 16, costs, 1)
    assert guess and guess == TEXT[90 : 90 + len(guess)]


class Fixed:
    """Always guesses the same."""

    def __init__(self, *guess: int) -> None:
        self.guess = list(guess)
        self.observed: list[tuple[int, int]] = []
        self.is_closed = False

    def propose(self, tokens: object, most: int, costs: CostCurve, rows: int) -> list[int]:
        return self.guess[:most]

    def observe(self, drafted: int, accepted: int) -> None:
        self.observed.append((drafted, accepted))

    def close(self) -> None:
        self.is_closed = True


def test_the_first_who_has_a_guess_is_taken_and_told_what_became_of_it() -> None:
    silent, second, third = Fixed(), Fixed(7, 8), Fixed(9)
    drafter = FirstOf([silent, second, third])
    tokens = np.array([1], dtype=np.int32)
    assert drafter.propose(tokens, 4, CostCurve(), 1) == [7, 8]
    drafter.observe(2, 1)
    assert [each.observed for each in (silent, second, third)] == [[], [(2, 1)], []]
    assert FirstOf([silent]).propose(tokens, 4, CostCurve(), 1) == []
    drafter.close()
    assert silent.is_closed and second.is_closed and third.is_closed
