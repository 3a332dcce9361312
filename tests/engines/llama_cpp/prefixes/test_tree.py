"""What is known of a beginning is found, however sequences branch; the least used goes first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.llama_cpp.prefixes.tree import Match, PrefixTree, Tokens, common_length


def tokens(*ids: int) -> Tokens:
    return np.array(ids, dtype=np.int32)


def learn(tree: PrefixTree[str], *ids: int, namespace: str = "") -> None:
    """As a finished sequence is parked: what is new of it, behind what is known."""
    known = tree.find(namespace, tokens(*ids))
    begin = known.length if known else 0
    if begin < len(ids):
        tree.add(namespace, known, tokens(*ids[begin:]), str(ids), size=len(ids) - begin)


def length_of(match: Match[str] | None) -> int:
    return match.length if match else 0


SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=12)


@given(known=SEQUENCES, asked=st.lists(st.integers(0, 2), max_size=9))
def test_the_longest_known_beginning_is_found(known: list[list[int]], asked: list[int]) -> None:
    tree: PrefixTree[str] = PrefixTree()
    for sequence in known:
        learn(tree, *sequence)
    found = tree.find("", tokens(*asked))
    expected = max((common_length(tokens(*it), tokens(*asked)) for it in known), default=0)
    assert length_of(found) == expected
    if found is not None:
        pieces = list(found.pieces())
        assert [segment.begin for segment, _ in pieces] == [0] + [end for _, end in pieces[:-1]]
        joined = [t for segment, end in pieces for t in segment.tokens[: end - segment.begin]]
        assert joined == asked[: found.length]


@given(known=SEQUENCES)
def test_what_is_shared_is_kept_once(known: list[list[int]]) -> None:
    tree: PrefixTree[str] = PrefixTree()
    for sequence in known:
        learn(tree, *sequence)
    beginnings = {tuple(it[:end]) for it in known for end in range(1, len(it) + 1)}
    assert tree.size == len(beginnings)
    assert {tuple(segment.all_tokens()) for _, segment in tree} <= beginnings


def test_namespaces_share_nothing() -> None:
    tree: PrefixTree[str] = PrefixTree()
    learn(tree, 1, 2, 3, namespace="a")
    assert tree.find("b", tokens(1, 2, 3)) is None


def test_the_least_recently_used_end_goes_first_and_beginnings_stay_while_they_are_needed() -> None:
    tree: PrefixTree[str] = PrefixTree()
    learn(tree, 1, 2, 3)
    learn(tree, 1, 2, 4, 5)
    learn(tree, 1, 2, 6)
    used = tree.find("", tokens(1, 2, 4, 5))
    assert used is not None
    tree.touch(used)
    gone = tree.evict(tree.size - 1)
    assert [segment.payload for segment in gone] == [str((1, 2, 6))]
    assert length_of(tree.find("", tokens(1, 2, 4, 5))) == 4
    assert {segment.payload for segment in tree.evict(0)} == {str((1, 2, 3)), str((1, 2, 4, 5))}
    assert (tree.size, tree.count, list(tree)) == (0, 0, [])


@pytest.mark.parametrize(("asked", "found"), [((1, 2), 0), ((1, 2, 3), 3), ((1, 2, 3, 4), 3)])
def test_what_cannot_be_cut_is_used_whole_or_not_at_all(asked: tuple[int, ...], found: int) -> None:
    tree: PrefixTree[str] = PrefixTree(whole=True)
    tree.add("", None, tokens(1, 2, 3), "short", 1)
    tree.add("", None, tokens(1, 2, 3, 4, 5), "long", 1)
    assert length_of(tree.find("", tokens(*asked))) == found


def test_a_chat_of_thousands_of_turns_is_found() -> None:
    tree: PrefixTree[str] = PrefixTree()
    ids = [number % 7 for number in range(5000)]
    for end in range(1, 5001):
        learn(tree, *ids[:end]) if end % 500 == 0 or end < 1500 else None
    assert length_of(tree.find("", tokens(*ids))) == 5000


def test_of_a_namespace_that_holds_nothing_any_more_nothing_stays() -> None:
    tree: PrefixTree[str] = PrefixTree()
    for number in range(100):
        learn(tree, 1, 2, 3, namespace=f"adapter at {number}")
        tree.evict(6)
    assert tree.size == 6 and len(tree._roots) <= 3
