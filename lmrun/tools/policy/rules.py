"""What the profile's rules say about a call. Pure; it asks nobody and remembers nothing.

What cannot be told is told on the safe side. A value that is too long or too slow to be matched
never makes a rule that denies, or asks, miss; nor does it ever let a call be run unasked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lmrun.profile.tooling.naming import matches
from lmrun.profile.tooling.policy import Decision, PolicyConfig, PolicyRule
from lmrun.settings.bounded_regex import BoundedMatcher
from lmrun.tools.policy.arguments import ArgumentsUnreadable, find_values, to_text
from lmrun.tools.policy.gate import Wish

_STRICTNESS: dict[Decision, int] = {"allow": 0, "ask": 1, "deny": 2}

_UNTOLD = "an argument is too long or too deep to tell whether a rule of the profile applies"
_TAINTED = "the run has read content from elsewhere, which may be what asks for this"
_PATTERN = "it may write or reach the network, which is allowed by whole names only"
_ANONYMOUS = "whoever calls without an API key cannot agree to it"


@dataclass(frozen=True, slots=True)
class Ruling:
    """`reason`: why, empty where the tool itself says so. `rule`: the index in `policy.rules` of
    the one that decided, None: the tool's own policy. `is_demoted`: allowed, were it not for what
    the run has read."""

    decision: Decision
    reason: str = ""
    rule: int | None = None
    is_demoted: bool = False


def decide(
    wish: Wish,
    policy: PolicyConfig,
    *,
    is_local_anonymous: bool = False,
    model_key: str | None = None,
) -> Ruling:
    """The first rule that applies decides, else the tool's own policy; then taint turns `allow`
    into `ask` for tools that write or reach the network. `is_local_anonymous`: the caller is on
    this machine and has no API key, so that there is nobody whose agreement could be had.
    `model_key`: what the caller's model is an instance of, where that is known."""
    ruling = _apply_rules(wish, policy, frozenset({wish.caller.model, model_key}))
    if ruling.decision == "allow" and is_risky(wish) and policy.taint:
        ruling = Ruling("ask", _TAINTED, ruling.rule, is_demoted=True)
    if ruling.decision == "ask" and is_local_anonymous:
        reason = f"{ruling.reason}; {_ANONYMOUS}" if ruling.reason else _ANONYMOUS
        ruling = replace(ruling, decision="deny", reason=reason)
    return ruling


def is_risky(wish: Wish) -> bool:
    """Whether what the run has read may do harm by this call."""
    return wish.is_tainted and bool(wish.tool.effects)


def _apply_rules(wish: Wish, policy: PolicyConfig, models: frozenset[str | None]) -> Ruling:
    matcher = BoundedMatcher()
    floor = Ruling("allow")
    for index, rule in enumerate(policy.rules):
        does_apply = _applies(rule, wish, models, matcher)
        if does_apply:
            return _stricter(floor, _read(rule, index, wish))
        if does_apply is None:
            decision: Decision = "deny" if rule.decision == "deny" else "ask"
            floor = _stricter(Ruling(decision, _UNTOLD, index), floor)
    return _stricter(floor, Ruling(wish.tool.policy))


def _read(rule: PolicyRule, index: int, wish: Wish) -> Ruling:
    """What a rule that applies says."""
    if rule.decision == "allow" and wish.tool.effects and wish.tool.path not in rule.tools:
        return Ruling("ask", _PATTERN, index)
    return Ruling(rule.decision, rule.reason or f"policy.rules[{index}] says so", index)


def _stricter(one: Ruling, other: Ruling) -> Ruling:
    """The stricter of both, the other one where they are equal."""
    is_one = _STRICTNESS[one.decision] > _STRICTNESS[other.decision]
    return one if is_one else other


def _applies(
    rule: PolicyRule, wish: Wish, models: frozenset[str | None], matcher: BoundedMatcher
) -> bool | None:
    """Whether everything that the rule names applies; None when that cannot be told."""
    caller = wish.caller
    names = ((rule.keys, {caller.key}), (rule.models, models), (rule.agents, {caller.agent}))
    if any(known and own.isdisjoint(known) for known, own in names):
        return False
    if not any(matches(pattern, wish.tool.path) for pattern in rule.tools):
        return False
    return _all(
        _argument_fits(wish.arguments, path, pattern, rule.decision, matcher)
        for path, pattern in rule.arguments.items()
    )


def _argument_fits(
    arguments: Mapping[str, Any],
    path: str,
    pattern: str,
    decision: Decision,
    matcher: BoundedMatcher,
) -> bool | None:
    """A path may mean several values: a rule that allows must fit them all, any other one of them.
    In the same way the end of a line is no `.` for the former and one for the latter."""
    is_lenient = decision == "allow"
    try:
        texts = [to_text(value) for value in find_values(arguments, path)]
    except ArgumentsUnreadable:
        return None
    if not texts:
        return False
    fits = [matcher.matches_whole(pattern, it, dot_is_anything=not is_lenient) for it in texts]
    return _all(fits) if is_lenient else _any(fits)


def _all(answers: Iterable[bool | None]) -> bool | None:
    """Three-valued: one `no` decides."""
    is_known = True
    for answer in answers:
        if answer is False:
            return False
        is_known = is_known and answer is not None
    return True if is_known else None


def _any(answers: Iterable[bool | None]) -> bool | None:
    """Three-valued: one `yes` decides."""
    is_known = True
    for answer in answers:
        if answer:
            return True
        is_known = is_known and answer is not None
    return False if is_known else None
