"""Text assembly: the same text however the bytes arrive, and no stop string in it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.worker.assembly.text import TextAssembly

TEXTS = st.text(alphabet="ab€😀\n") | st.text()
STOPS = st.lists(st.text(alphabet="ab€😀\n", min_size=1, max_size=4), max_size=3).map(tuple)


def assemble(pieces: list[bytes], stops: tuple[str, ...]) -> tuple[list[str], str | None]:
    assembly = TextAssembly(stops)
    shown = []
    for piece in pieces:
        shown.append(assembly.push(piece))
        if assembly.is_stopped:
            return shown, assembly.stopped_by
    shown.append(assembly.finish())
    return shown, assembly.stopped_by


def whole(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """The specification, written the slow way: cut where the first stop string is complete."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(TEXTS, STOPS)
def test_every_cut_in_two_gives_the_whole_text(text: str, stops: tuple[str, ...]) -> None:
    data = text.encode()
    for cut in range(len(data) + 1):
        shown, stop = assemble([data[:cut], data[cut:]], stops)
        assert ("".join(shown), stop) == whole(text, stops)


@given(TEXTS, STOPS)
def test_single_bytes_give_the_whole_text(text: str, stops: tuple[str, ...]) -> None:
    shown, stop = assemble([bytes([byte]) for byte in text.encode()], stops)
    assert ("".join(shown), stop) == whole(text, stops)


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_invalid_bytes_become_what_a_decoder_makes_of_them(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    shown, _ = assemble(pieces, ())
    assert "".join(shown) == data.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        pytest.param([b"\xf0\x9f", b"\x98\x80!"], (), ["", "😀!", ""], id="emoji in two tokens"),
        pytest.param([b"\xf0\x9f"], (), ["", "�"], id="emoji that never ends"),
        pytest.param([b"a", b"EN", b"x"], ("END",), ["a", "", "ENx", ""], id="false alarm"),
        pytest.param([b"aEN", b"D!"], ("END",), ["a", ""], id="over two tokens"),
        pytest.param([b"aEN"], ("END",), ["a", "EN"], id="only the beginning of it"),
        pytest.param([b"aaab"], ("aab",), ["a"], id="overlaps itself"),
        pytest.param([b"abcd"], ("abcd", "bc"), ["a"], id="complete first"),
        pytest.param([b"abc"], ("bc", "abc"), [""], id="longest of those complete"),
        pytest.param([b"x", b"ab", b"abc"], ("ababc",), ["x", "", ""], id="two pieces held"),
        pytest.param([b"\xe2\x82", b"\xac."], ("€",), ["", ""], id="stop inside a character"),
    ],
)
def test_only_what_is_certain_is_shown(
    pieces: list[bytes], stops: tuple[str, ...], expected: list[str]
) -> None:
    assert assemble(pieces, stops)[0] == expected


@given(st.binary(max_size=40), STOPS, st.lists(st.integers(0, 40), max_size=6))
def test_what_was_decoded_is_given_out_or_held_back(
    data: bytes, stops: tuple[str, ...], cuts: list[int]
) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assembly = TextAssembly(stops)
    shown = ""
    for start, end in pairwise(edges):
        shown += assembly.push(data[start:end])
        assert assembly.released == len(shown) <= assembly.decoded
        if assembly.is_stopped:
            return
    shown += assembly.finish()
    assert assembly.released == len(shown)
    assert assembly.is_stopped or assembly.decoded == len(shown)


@given(st.lists(st.sampled_from(["a", "b", "ab", "ba"]), max_size=12), STOPS)
def test_no_more_is_held_back_than_a_stop_string_needs(
    words: list[str], stops: tuple[str, ...]
) -> None:
    assembly = TextAssembly(stops)
    said, shown = "", ""
    for word in words:
        said += word
        shown += assembly.push(word.encode())
        if assembly.is_stopped:
            return
        held = said[len(shown) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)
