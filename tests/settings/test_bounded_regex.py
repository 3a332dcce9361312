"""Patterns on foreign text: as Python's own, but never for long."""

from __future__ import annotations

import re
import time

import pytest

from lmrun.settings.bounded_regex import MAX_TEXT_LENGTH, BoundedMatcher, find_regex_fault

ENDLESS = [
    (r"(a|aa)+b", "a" * 60),
    (r".*a.*b.*c", "a" * MAX_TEXT_LENGTH),
    (r"(.*?,){11}P", ",".join(map(str, range(30)))),
]


def matches(pattern: str, text: str, *, dot_is_anything: bool = False) -> bool | None:
    return BoundedMatcher().matches_whole(pattern, text, dot_is_anything=dot_is_anything)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"/tmp/([\w.-]+/)*[\w.-]+", "/tmp/a/b.txt"),
        (r"/tmp/([\w.-]+/)*[\w.-]+", "/tmp/a b.txt"),
        (r"a|ab", "ab"),
        (r"(?i)select .*", "SELECT 1"),
        (r".*", "two\nlines"),
        (r"\d{2,3}", "1234"),
        (r"(?!.*\.\.)/srv/.*", "/srv/../etc"),
        (r"(?P<x>a+)b(?P=x)", "aabaa"),
        (r"é+", "éé"),
    ],
)
def test_a_pattern_means_what_it_means_to_python(pattern: str, text: str) -> None:
    assert matches(pattern, text) == (re.fullmatch(pattern, text) is not None)


def test_a_dot_may_be_the_end_of_a_line() -> None:
    assert matches("rm .*", "rm a\nb", dot_is_anything=True) is True
    assert matches("rm .*", "rm a\nb", dot_is_anything=False) is False


@pytest.mark.parametrize(("pattern", "text"), ENDLESS)
def test_a_match_that_would_take_for_ever_has_no_answer_and_takes_no_time(
    pattern: str, text: str
) -> None:
    begin = time.thread_time()
    assert matches(pattern, text) is None
    assert time.thread_time() - begin < 1


def test_the_time_is_bounded_for_all_matches_of_a_matcher_together() -> None:
    matcher = BoundedMatcher()
    begin = time.thread_time()
    for _ in range(100):
        for pattern, text in ENDLESS:
            assert matcher.matches_whole(pattern, text, dot_is_anything=False) is None
    assert time.thread_time() - begin < 1


def test_a_text_that_is_too_long_has_no_answer() -> None:
    assert matches("a*", "a" * MAX_TEXT_LENGTH) is True
    assert matches("a*", "a" * (MAX_TEXT_LENGTH + 1)) is None


@pytest.mark.parametrize("pattern", ["a{2}", "a{2,}", "a{,3}", r"\{x\}", "[ab]+", r"\\{1}", ""])
def test_patterns_that_both_read_alike_have_no_fault(pattern: str) -> None:
    re.compile(pattern)
    assert find_regex_fault(pattern) is None


@pytest.mark.parametrize("pattern", ["(?:abc){e}", "/users/{id}", r"a\\{e<=1}", "{", "a{i}"])
def test_a_brace_that_could_begin_an_approximate_match_is_a_fault(pattern: str) -> None:
    re.compile(pattern)
    assert find_regex_fault(pattern) == (
        "a `{` that begins no repetition like `{2,3}` is written `\\{` here"
    )
