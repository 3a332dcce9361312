"""Where JSON ends, and whether it still is JSON, a character at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.chat.formats.reading.json_text import MAX_DEPTH, JsonScanner

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
ALPHABET = '[]{}",:\\ \n\t0123456789.eE+-truefalsn/bux'
LIKE_JSON = st.text(st.sampled_from(ALPHABET), max_size=30)


def is_json(text: str) -> bool:
    def refuse(word: str) -> Any:
        raise ValueError(word)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


def scan(text: str) -> tuple[int, str]:
    """How much was taken, and the state at the end."""
    scanner = JsonScanner()
    taken = scanner.push(text)
    return taken, scanner.finish()


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_a_value_is_complete_at_its_end_and_not_before(
    value: Any, indent: int | None, ensure_ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)
    assert scan(text) == (len(text), "complete")
    scanner = JsonScanner()
    for at, character in enumerate(text):
        assert scanner.state == "open", text[:at]
        assert scanner.push(character) == 1
    if text[0] in '[{"':
        assert scanner.state == "complete" and scanner.push("x") == 0


@given(VALUES, st.text(max_size=3))
def test_what_follows_an_object_is_not_taken(value: Any, rest: str) -> None:
    text = json.dumps({"a": value})
    assert scan(text + rest) == (len(text), "complete")


@given(LIKE_JSON)
def test_text_is_json_as_a_whole_exactly_if_json_reads_it(text: str) -> None:
    taken, state = scan(text)
    is_whole = state == "complete" and not text[taken:].strip(" \t\n\r")
    assert is_whole == is_json(text)


@given(LIKE_JSON, st.integers(0, 30))
def test_it_does_not_matter_how_text_is_split(text: str, at: int) -> None:
    scanner = JsonScanner()
    taken = scanner.push(text[:at])
    if scanner.state == "open":
        taken += scanner.push(text[at:])
    assert (taken, scanner.finish()) == scan(text)


@given(LIKE_JSON)
def test_it_breaks_at_the_first_character_that_no_json_can_have(text: str) -> None:
    """Up to there some continuation is JSON; a closed beginning is the simplest one."""
    scanner = JsonScanner()
    taken = scanner.push(text)
    if scanner.state == "broken":
        assert not is_json(text)
        again = JsonScanner()
        assert again.push(text[:taken]) == taken and again.state == "open"


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("01", 1),
        ("-", 1),
        ("-a", 1),
        ("1.e5", 2),
        ("1.5.2", 3),
        ("1e+-2", 3),
        ("tru ", 3),
        ("truE", 3),
        ("nul]", 3),
        ('"\n"', 1),
        ('"\\x"', 2),
        ('"\\u12g4"', 5),
        ("[1,]", 3),
        ('{"a":1,}', 7),
        ("{1:2}", 1),
        ('{"a" 1}', 5),
        ('{"a":}', 5),
        ("[1 2]", 3),
        ("[1}", 2),
        ("]", 0),
        (",", 0),
        ("'a'", 0),
        ("NaN", 0),
        ("\N{ARABIC-INDIC DIGIT ONE}", 0),
    ],
)
def test_what_is_no_json_breaks(text: str, taken: int) -> None:
    assert scan(text)[1] == "broken"
    scanner = JsonScanner()
    assert scanner.push(text) in (taken, len(text))


@pytest.mark.parametrize("text", ["0", "-0", "1.5", "1e5", "1E+05", "-0.0e-1", "true", "null"])
def test_a_number_or_word_is_complete_once_something_else_follows(text: str) -> None:
    assert scan(text) == (len(text), "complete")
    assert scan(f"{text} ")[1] == "complete"
    assert scan(f"{text},") == (len(text), "complete")


def test_json_that_nests_too_deeply_is_broken() -> None:
    assert scan("[" * MAX_DEPTH + "]" * MAX_DEPTH)[1] == "complete"
    assert scan("[" * (MAX_DEPTH + 1)) == (MAX_DEPTH, "broken")
