"""Differences that people can read: short, and around what differs."""

from __future__ import annotations

from lmrun.checks.differing import MAX_LINES, MAX_WIDTH, show_difference


def test_two_lines_stand_beneath_each_other() -> None:
    assert show_difference("a b c", "a x c") == "-a b c\n+a x c"


def test_long_lines_are_cut_around_the_first_difference() -> None:
    same = "word " * 1000
    expected, got = show_difference(f"{same}left {same}", f"{same}right {same}").splitlines()
    assert expected.startswith("-…")
    assert "left" in expected
    assert "right" in got
    assert max(len(expected), len(got)) <= MAX_WIDTH + 3


def test_of_many_lines_those_around_the_change_are_shown() -> None:
    lines = [f"line {n}" for n in range(100)]
    changed = [*lines[:50], "another", *lines[51:]]
    shown = show_difference("\n".join(lines), "\n".join(changed)).splitlines()
    assert shown == ["@@ -50,3 +50,3 @@", " line 49", "-line 50", "+another", " line 51"]


def test_more_lines_than_fit_are_counted() -> None:
    shown = show_difference("\n".join("ab" * 50), "\n".join("cd" * 50)).splitlines()
    assert len(shown) == MAX_LINES + 1
    assert shown[-1].endswith("more lines")


def test_a_missing_line_break_is_no_empty_difference() -> None:
    assert show_difference("a\n", "a") == "  only line breaks differ"
