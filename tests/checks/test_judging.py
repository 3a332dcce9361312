"""What came of a check, judged from what was observed alone."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.checks.judging import judge, wants_golden
from lmrun.checks.matching import contains
from lmrun.checks.values import Answer, CheckResult, Reply
from tests.checks.values import FINGERPRINT, call, check, expecting, observed, reply

PARIS = reply().answer
TOOLS = {"get_date": {"parameters": {"type": "object", "properties": {}}}}


def judged(expect: dict[str, Any], answer: Reply, **golden: Answer) -> CheckResult:
    tools = TOOLS if "tool_call" in expect or "finish_reason" in expect else {}
    return judge("c", check(expect=expect, tools=tools), observed(answer), golden)


@pytest.mark.parametrize(
    ("expect", "answer"),
    [
        ({"equals": "The capital is Paris."}, reply()),
        ({"equals": ""}, reply("")),
        ({"contains": "Paris"}, reply()),
        ({"contains": ["Paris", "capital"]}, reply()),
        ({"not_contains": ["London", "Rome"]}, reply()),
        ({"regex": "^The .* P[a-z]+"}, reply()),
        ({"json_schema": {"type": "object", "required": ["a"]}}, reply('{"a": 1}')),
        ({"json_schema": True}, reply("[]")),
        ({"tool_call": {"name": "get_date"}}, reply("", tool_calls=(call(),))),
        (
            {"tool_call": {"name": "get_date", "arguments": {"order": 7}}},
            reply("", tool_calls=(call("other"), call())),
        ),
        ({"finish_reason": "tool_calls"}, reply("", finish_reason="tool_calls")),
        ({"max_ttft": "500ms"}, reply()),
        ({"min_tokens_per_second": 10}, reply()),
    ],
)
def test_an_answer_that_is_as_expected_passes(expect: dict[str, Any], answer: Reply) -> None:
    result = judged(expect, answer)
    assert (result.status, result.failures, result.message) == ("passed", (), "")
    assert result.reply == answer


@pytest.mark.parametrize(
    ("expect", "answer", "message", "diff"),
    [
        (
            {"equals": "The capital is Rome."},
            reply(),
            "the answer is another one",
            "-The capital is Rome.\n+The capital is Paris.",
        ),
        (
            {"contains": ["Paris", "Seine"]},
            reply(),
            "'Seine' is not in the answer",
            "  The capital is Paris.",
        ),
        (
            {"not_contains": "Paris"},
            reply(),
            "'Paris' is in the answer",
            "  The capital is Paris.",
        ),
        ({"regex": "^P"}, reply(""), "'^P' matches nowhere in the answer", "  (no text)"),
        (
            {"json_schema": {"properties": {"a": {"type": "integer"}}}},
            reply('{"a": "x"}'),
            "at `a`: 'x' is not of type 'integer'",
            '  {"a": "x"}',
        ),
        (
            {"json_schema": True},
            reply("NaN"),
            "the answer is no JSON: NaN is no JSON",
            "  NaN",
        ),
        (
            {"json_schema": {"$ref": "#/$defs/none"}},
            reply("1"),
            "the schema refers to '/$defs/none', which it does not have",
            "  1",
        ),
        ({"tool_call": {"name": "get_date"}}, reply(), "no tool is called", None),
        (
            {"tool_call": {"name": "get_date", "arguments": {"order": 8}}},
            reply("", tool_calls=(call(),)),
            'no call is one of get_date with {"order": 8}; called were',
            '  get_date({"order": 7, "urgent": true})',
        ),
        (
            {"tool_call": {"name": "get_date", "arguments": {"order": 7}}},
            reply("", tool_calls=(call(arguments='{"order": 7'),)),
            'no call is one of get_date with {"order": 7}; called were',
            '  get_date({"order": 7)',
        ),
        ({"finish_reason": "stop"}, reply(finish_reason="length"), "it is length, not stop", ""),
        ({"max_ttft": "400ms"}, reply(), "the first token came after 0.5 s, not 0.4", ""),
        ({"max_ttft": "400ms"}, reply("", ttft_s=None, tokens=0), "no token came", ""),
        ({"min_tokens_per_second": 11}, reply(), "10 tokens a second, not 11", ""),
        ({"min_tokens_per_second": 1}, reply(tokens=1), "1 tokens are too few to measure", ""),
    ],
)
def test_an_answer_that_is_not_as_expected_fails_and_shows_how(
    expect: dict[str, Any], answer: Reply, message: str, diff: str | None
) -> None:
    result = judged(expect, answer)
    (failure,) = result.failures
    assert result.status == "failed"
    assert failure.expectation == next(iter(expect))
    assert failure.message == message
    assert diff is None or failure.diff == diff


def test_all_that_is_wrong_is_told_at_once() -> None:
    result = judged({"equals": "x", "contains": "y", "max_ttft": "1ms"}, reply())
    assert [it.expectation for it in result.failures] == ["equals", "contains", "max_ttft"]


@pytest.mark.parametrize(
    ("value", "part", "is_in"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": [1, {"b": 1, "c": 2}]}, {"a": [1, {"b": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": None}, {"b": None}, False),
        ([], {}, False),
        ("1", 1, False),
    ],
)
def test_arguments_may_hold_more_than_what_is_expected_of_them(
    value: Any, part: Any, is_in: bool
) -> None:
    assert contains(value, part) is is_in


@pytest.mark.parametrize(
    ("expectation", "replies"),
    [
        ({"same_twice": True}, (reply(), reply("Paris it is."), None)),
        ({"same_under_load": 2}, (reply(), None, reply("Paris it is."))),
        ({"same_twice": True}, (reply(), reply(reasoning="Hm."), None)),
        ({"same_twice": True}, (reply(), reply(tool_calls=(call(),)), None)),
        ({"same_twice": True}, (reply(), reply(finish_reason="length"), None)),
    ],
)
def test_an_answer_that_changes_fails_its_relation(
    expectation: dict[str, Any], replies: tuple[Any, ...]
) -> None:
    result = judge("c", expecting(**expectation), observed(*replies), {})
    (failure,) = result.failures
    assert failure.expectation == next(iter(expectation))
    assert failure.diff
    unchanged = judge("c", expecting(**expectation), observed(reply(), reply(), reply()), {})
    assert unchanged.status == "passed"


def test_a_golden_answer_of_this_fingerprint_is_compared() -> None:
    check = expecting(golden="g.json")
    same = judge("c", check, observed(reply()), {FINGERPRINT: PARIS, "other": Answer("x", "stop")})
    other = judge("c", check, observed(reply("Lyon.")), {FINGERPRINT: PARIS})
    assert same.status == "passed"
    assert other.status == "failed"
    assert other.failures[0].diff == "-The capital is Paris.\n+Lyon."


def test_a_golden_answer_of_another_fingerprint_is_stale_and_no_failure_of_the_model() -> None:
    result = judge("c", expecting(golden="g.json"), observed(reply("Lyon.")), {"older": PARIS})
    assert (result.status, result.failures) == ("stale", ())
    assert "made under older" in result.message
    assert FINGERPRINT in result.message


def test_what_fails_besides_is_a_failure_whatever_the_golden_file_lacks() -> None:
    check = expecting(golden="g.json", contains="Rome")
    result = judge("c", check, observed(reply()), {})
    assert (result.status, len(result.failures)) == ("failed", 1)
    assert not wants_golden(check, result)


@pytest.mark.parametrize("golden", [{}, {"older": PARIS}, {FINGERPRINT: Answer("Lyon.", "stop")}])
def test_an_update_writes_what_only_the_golden_file_lacks(golden: dict[str, Answer]) -> None:
    check = expecting(golden="g.json", contains="Paris")
    assert wants_golden(check, judge("c", check, observed(reply()), golden))


@pytest.mark.parametrize(
    ("expect", "observation"),
    [
        ({"golden": "g.json"}, observed(error="The worker died.")),
        ({"contains": "Paris"}, observed(reply())),
    ],
)
def test_an_update_writes_nothing_without_an_answer_or_a_golden_file(
    expect: dict[str, Any], observation: Any
) -> None:
    check = expecting(**expect)
    assert not wants_golden(check, judge("c", check, observation, {}))


def test_without_an_answer_there_is_nothing_to_judge() -> None:
    result = judge("c", expecting(contains="x"), observed(error="The worker died."), {})
    assert (result.status, result.message, result.failures) == ("error", "The worker died.", ())
