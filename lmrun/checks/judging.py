"""What was observed → what came of a check. Pure; it asks nothing and reads nothing.

A golden answer of another fingerprint is not compared: another build, machine or file may say
something else and be right. Such a check is `stale`, not `failed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lmrun.checks.matching import compare, find_failures
from lmrun.checks.values import Answer, CheckResult, CheckStatus, Failure, Observation, Reply
from lmrun.settings.check import Check

Golden = Mapping[str, Answer]
"""Answers by fingerprint: a golden file's content; empty where there is no file."""

_UPDATE = "`lmrun check --update` writes it"


def judge(name: str, check: Check, observation: Observation, golden: Golden) -> CheckResult:
    """What came of the check called `name`."""
    reply = observation.reply
    if reply is None or observation.error is not None:
        message = observation.error or "There is no answer."
        return CheckResult(name, check.model, "error", observation.seconds, message=message)
    failures = (
        *find_failures(check.expect, reply),
        *_compare_with_golden(check, reply, golden),
        *_compare_among_themselves(check, reply, observation),
    )
    message = "" if failures else _find_staleness(check, reply, golden)
    status: CheckStatus = "failed" if failures else "stale" if message else "passed"
    return CheckResult(
        name,
        check.model,
        status,
        observation.seconds,
        failures=failures,
        message=message,
        reply=reply,
    )


def wants_golden(check: Check, result: CheckResult) -> bool:
    """Whether an update writes the answer down: all that is wrong with it is the golden file."""
    if check.expect.golden is None or result.reply is None:
        return False
    others = [it for it in result.failures if it.expectation != "golden"]
    return result.status in ("stale", "failed") and not others


def _compare_with_golden(check: Check, reply: Reply, golden: Golden) -> Iterator[Failure]:
    expected = golden.get(reply.fingerprint or "")
    if check.expect.golden is None or expected is None:
        return
    failure = compare("golden", "the answer is another one", expected, reply.answer)
    if failure is not None:
        yield failure


def _find_staleness(check: Check, reply: Reply, golden: Golden) -> str:
    """Why there is no golden answer to compare with; empty where there is, or none is wanted."""
    if check.expect.golden is None or reply.fingerprint in golden:
        return ""
    if not golden:
        return f"There is no golden answer yet; {_UPDATE}."
    made = ", ".join(sorted(golden))
    return (
        f"The golden answer was made under {made}; the model's fingerprint is "
        f"{reply.fingerprint}, under which {_UPDATE}."
    )


def _compare_among_themselves(
    check: Check, reply: Reply, observation: Observation
) -> Iterator[Failure]:
    others = check.expect.same_under_load
    relations = (
        ("same_twice", "asked again, the answer is another one", observation.again),
        (
            "same_under_load",
            f"beside {others} other requests the answer is another one",
            observation.beside_others,
        ),
    )
    for expectation, message, other in relations:
        failure = compare(expectation, message, reply.answer, other.answer) if other else None
        if failure is not None:
            yield failure
