"""Where the end of a sequence occurred before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.llama_cpp.speculation.ngrams import LONGEST_MATCH, Match, NgramIndex

A, B, C, D, E = range(5)
texts = st.lists(st.integers(0, 3), max_size=60)


@pytest.mark.parametrize(
    ("tokens", "match"),
    [
        ([], None),
        ([A], None),
        ([A, A], None),
        ([A, B, C, B], None),
        ([A, B, C, A, B], Match(2, 2)),
        ([A, A, A], Match(2, 2)),
        ([A, B, C, D, A, B, C, E, A, B, C], Match(7, 3)),
        ([D, A, B, C, E, A, B, D, D, A, B], Match(3, 3)),
        ([*range(9, 99), *range(9, 50)], Match(41, LONGEST_MATCH)),
    ],
)
def test_the_longest_and_then_the_latest_occurrence_is_found(
    tokens: list[int], match: Match | None
) -> None:
    assert NgramIndex(tokens).find() == match


@given(texts)
def test_it_finds_what_a_search_finds(tokens: list[int]) -> None:
    assert NgramIndex(tokens).find() == search(tokens)


@given(texts, texts)
def test_tokens_may_come_piece_by_piece(first: list[int], rest: list[int]) -> None:
    index = NgramIndex(first)
    for token in rest:
        index.extend([token])
    assert index.find() == NgramIndex(first + rest).find()
    assert len(index) == len(first) + len(rest)


@pytest.mark.parametrize(
    ("tokens", "most", "guess"),
    [
        ([A, B, C, D, A, B], 2, [C, D]),
        ([A, B, C, D, A, B], 9, [C, D, A, B, C, D, A, B, C]),
        ([A, A, A], 4, [A, A, A, A]),
        ([A, B, C, D, A, B], 0, []),
        ([A, B, C], 5, []),
    ],
)
def test_what_followed_is_proposed_and_goes_on_past_the_end(
    tokens: list[int], most: int, guess: list[int]
) -> None:
    assert NgramIndex(tokens).propose(most) == guess


def test_after_a_change_in_a_repeated_text_two_tokens_are_enough_to_go_on() -> None:
    text = list(range(100, 160))
    changed = [*text[:20], 7, *text[21:23]]
    assert NgramIndex([*text, *changed]).propose(5) == text[23:28]
    assert NgramIndex([*text, *changed[:-1]]).propose(5) == []


def search(tokens: list[int]) -> Match | None:
    """The same by trying every place, latest first, of the latest 32 that match at all."""
    end = len(tokens)
    found = []
    for place in range(end - 1, 1, -1):
        length = 0
        while (
            length < min(LONGEST_MATCH, place)
            and tokens[place - 1 - length] == tokens[end - 1 - length]
        ):
            length += 1
        if length >= 2:
            found.append(Match(place, length))
    return max(found[:32], key=lambda match: (match.length, match.position), default=None)
