"""Conditions keep their date until their status or reason changes."""

from __future__ import annotations

from lmrun.errors import Problem, ProfileInvalid
from lmrun.reconcile.reporting import conditions
from lmrun.reconcile.reporting.conditions import ConditionBook


def test_a_condition_keeps_its_date_while_only_its_message_changes() -> None:
    times = iter(["10:00", "11:00", "12:00"])
    book = ConditionBook(now=lambda: next(times))
    assert book.note("m", "Ready", "False", "Loading", "10 %").since == "10:00"
    assert book.note("m", "Ready", "False", "Loading", "20 %").since == "10:00"
    assert book.note("m", "Ready", "True", "Ready").since == "11:00"


def test_owners_do_not_share_conditions() -> None:
    times = iter(["10:00", "11:00"])
    book = ConditionBook(now=lambda: next(times))
    assert book.note("a", "Ready", "True", "Ready").since == "10:00"
    assert book.note("b", "Ready", "True", "Ready").since == "11:00"


def test_an_invalid_profile_is_told_with_its_positions() -> None:
    invalid = ProfileInvalid((Problem("p.yaml", 3, 5, "server.port", "must be a number"),))
    condition = conditions.profile_valid(ConditionBook(), invalid)
    assert (condition.status, condition.reason) == ("False", "ProfileInvalid")
    assert "p.yaml:3:5: server.port" in condition.message


def test_many_problems_are_one_line_in_the_log() -> None:
    problems = tuple(Problem("p.yaml", line, 1, "x", "bad") for line in (1, 2, 3))
    assert conditions.describe_problem(ProfileInvalid(problems)) == (
        "p.yaml:1:1: x: bad (and 2 more)"
    )
