"""What rules say about calls, and that whatever cannot be told is told on the safe side."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.profile.tooling.naming import matches
from lmrun.profile.tooling.policy import Decision, PolicyConfig
from lmrun.settings.bounded_regex import MAX_TEXT_LENGTH
from lmrun.tools.policy.gate import Wish
from lmrun.tools.policy.rules import Ruling, decide
from lmrun.tools.tool import Caller
from tests.support.policies import a_policy, a_tool, a_wish

STRICTNESS = ["allow", "ask", "deny"]
LONG = "x" * (MAX_TEXT_LENGTH + 1)
SLOW = "a" * 60
SLOW_PATTERN = "(a|aa)+b"


def deciding(wish: Wish, *rules: dict[str, Any]) -> Decision:
    return decide(wish, a_policy(*rules)).decision


@pytest.mark.parametrize("policy", STRICTNESS)
def test_without_a_rule_the_tool_decides(policy: Decision) -> None:
    assert decide(a_wish(a_tool(policy=policy)), a_policy()) == Ruling(policy)


def test_the_first_rule_that_applies_decides_and_says_why() -> None:
    policy = a_policy(
        {"tools": ["add"], "decision": "deny"},
        {"tools": ["rm"], "decision": "allow", "reason": "harmless"},
        {"decision": "deny"},
    )
    assert decide(a_wish(), policy) == Ruling("allow", "harmless", 1)
    other = decide(a_wish(a_tool("ls", "allow")), policy)
    assert other == Ruling("deny", "policy.rules[2] says so", 2)


@pytest.mark.parametrize(
    ("pattern", "path", "does_apply"),
    [
        ("*", "add", True),
        ("*", "mcp/time/now", True),
        ("a*", "add", True),
        ("a*", "mcp/a/add", False),
        ("mcp/time/*", "mcp/time/now", True),
        ("mcp/time/*", "mcp/time/zone/now", True),
        ("mcp/time/*", "mcp/times/now", False),
        ("mcp/*/now", "mcp/time/now", True),
        ("mcp/time/now", "mcp/time/NOW", False),
    ],
)
def test_tools_are_meant_by_patterns(pattern: str, path: str, does_apply: bool) -> None:
    decision = deciding(a_wish(a_tool(path)), {"tools": [pattern], "decision": "deny"})
    assert decision == ("deny" if does_apply else "ask")


def test_what_writes_or_reaches_the_network_is_allowed_by_its_whole_name_only() -> None:
    pattern = {"tools": ["mcp/fs/*", "r*"], "decision": "allow", "reason": "trusted"}
    for path in ("mcp/fs/write", "rm"):
        ruling = decide(a_wish(a_tool(path)), a_policy(pattern))
        assert (ruling.decision, ruling.rule) == ("ask", 0)
        assert ruling.reason == (
            "it may write or reach the network, which is allowed by whole names only"
        )
        by_name = {"tools": ["x*", path], "decision": "allow"}
        assert deciding(a_wish(a_tool(path)), by_name) == "allow"
        harmless = a_wish(a_tool(path, effects=[]))
        assert decide(harmless, a_policy(pattern)) == Ruling("allow", "trusted", 0)


@pytest.mark.parametrize(
    ("field", "caller"),
    [
        ("keys", Caller("chat", key="ci")),
        ("models", Caller("chat", model="ci")),
        ("agents", Caller("chat", agent="ci")),
    ],
)
def test_a_rule_about_callers_is_not_about_others(field: str, caller: Caller) -> None:
    rule = {"tools": ["rm"], field: ["ci", "dev"], "decision": "deny"}
    assert deciding(a_wish(caller=caller), rule) == "deny"
    assert deciding(a_wish(caller=Caller("chat")), rule) == "ask"
    assert deciding(a_wish(caller=Caller("chat", "x", "y", "z")), rule) == "ask"


@pytest.mark.parametrize(
    ("path", "pattern", "arguments", "does_apply"),
    [
        ("path", "/etc/.*", {"path": "/etc/passwd"}, True),
        ("path", "/etc/.*", {"path": "see /etc/passwd"}, False),
        ("path", "/etc", {"path": "/etc/passwd"}, False),
        ("path", "/etc/.*", {}, False),
        ("path", "/etc/.*", {"path": "/etc/a\nb"}, True),
        ("count", "1000", {"count": 1000}, True),
        ("count", "1000", {"count": 1e3}, True),
        ("force", "true", {"force": True}, True),
        ("force", "true", {"force": "true"}, True),
        ("force", "true", {"force": False}, False),
        ("to", "null", {"to": None}, True),
        ("paths", r'.*"/etc/.*', {"paths": ["/tmp", "/etc/passwd"]}, True),
        ("options.path", "/etc/.*", {"options": {"path": "/etc/x"}}, True),
        ("options.path", "/etc/.*", {"options.path": "/etc/x", "options": {"path": "/"}}, True),
        ("files.path", "/etc/.*", {"files": [{"path": "/"}, {"path": "/etc/x"}]}, True),
    ],
)
def test_a_rule_that_denies_matches_arguments_however_they_come(
    path: str, pattern: str, arguments: dict[str, Any], does_apply: bool
) -> None:
    rule = {"tools": ["rm"], "arguments": {path: pattern}, "decision": "deny"}
    assert deciding(a_wish(arguments=arguments), rule) == ("deny" if does_apply else "ask")


@pytest.mark.parametrize(
    ("path", "pattern", "arguments", "does_apply"),
    [
        ("path", "/tmp/.*", {"path": "/tmp/x"}, True),
        ("path", "/tmp/.*", {"path": "/tmp/x\n/etc"}, False),
        ("path", "/tmp/.*", {"path": "/tmp/x\n"}, False),
        ("files.path", "/tmp/.*", {"files": [{"path": "/tmp/x"}, {"path": "/etc/x"}]}, False),
        ("files.path", "/tmp/.*", {"files": [{"path": "/tmp/x"}, {"path": "/tmp/y"}]}, True),
        ("a.b", "1", {"a.b": 1, "a": {"b": 2}}, False),
    ],
)
def test_a_rule_that_allows_must_match_everything(
    path: str, pattern: str, arguments: dict[str, Any], does_apply: bool
) -> None:
    rule = {"tools": ["rm"], "arguments": {path: pattern}, "decision": "allow"}
    assert deciding(a_wish(arguments=arguments), rule) == ("allow" if does_apply else "ask")


def test_all_arguments_of_a_rule_must_match() -> None:
    rule = {"tools": ["rm"], "arguments": {"a": "1", "b": "2"}, "decision": "deny"}
    assert deciding(a_wish(arguments={"a": 1, "b": 2}), rule) == "deny"
    assert deciding(a_wish(arguments={"a": 1, "b": 3}), rule) == "ask"


UNTOLD = [
    pytest.param("x*", LONG, id="too long"),
    pytest.param(SLOW_PATTERN, SLOW, id="too slow"),
    pytest.param("x", [LONG], id="too long as JSON"),
]


@pytest.mark.parametrize(("pattern", "value"), UNTOLD)
@pytest.mark.parametrize("tools_own", STRICTNESS)
def test_a_rule_that_denies_is_not_evaded_by_what_cannot_be_matched(
    pattern: str, value: Any, tools_own: Decision
) -> None:
    wish = a_wish(a_tool(policy=tools_own), {"a": value})
    ruling = decide(
        wish, a_policy({"tools": ["rm"], "arguments": {"a": pattern}, "decision": "deny"})
    )
    assert ruling.decision == "deny"
    if tools_own != "deny":
        assert ruling.rule == 0
        assert ruling.reason.startswith("an argument is too long or too deep to tell")


@pytest.mark.parametrize(("pattern", "value"), UNTOLD)
@pytest.mark.parametrize("decision", ["allow", "ask"])
def test_what_cannot_be_matched_is_never_run_unasked(
    pattern: str, value: Any, decision: Decision
) -> None:
    wish = a_wish(a_tool(policy="allow"), {"a": value})
    rule = {"tools": ["rm"], "arguments": {"a": pattern}, "decision": decision}
    assert deciding(wish, rule) == "ask"
    assert deciding(wish, rule, {"tools": ["rm"], "decision": "allow"}) == "ask"
    assert deciding(wish, rule, {"decision": "deny"}) == "deny"


def test_arguments_that_are_nested_without_end_are_never_run_unasked() -> None:
    value: Any = 0
    for _ in range(100_000):
        value = [value]
    wish = a_wish(a_tool(policy="allow"), {"a": value})
    rule = {"tools": ["rm"], "arguments": {"a": ".*"}, "decision": "allow"}
    assert deciding(wish, rule) == "ask"


def test_many_slow_rules_take_no_longer_than_one() -> None:
    rule = {"tools": ["rm"], "arguments": {"a": SLOW_PATTERN}, "decision": "ask"}
    begin = time.thread_time()
    assert deciding(a_wish(arguments={"a": SLOW}), *[rule] * 256) == "ask"
    assert time.thread_time() - begin < 1


def test_taint_has_tools_that_write_or_reach_the_network_asked_about() -> None:
    risky, harmless = a_tool(policy="allow", effects=["network"]), a_tool("add", "allow", [])
    policy = a_policy()
    assert decide(a_wish(risky), policy).decision == "allow"
    tainted = decide(a_wish(risky, is_tainted=True), policy)
    assert (tainted.decision, tainted.is_demoted) == ("ask", True)
    assert tainted.reason.startswith("the run has read content from elsewhere")
    assert decide(a_wish(harmless, is_tainted=True), policy) == Ruling("allow")


def test_taint_counts_also_where_a_rule_allows_and_loosens_nothing() -> None:
    tainted = a_wish(is_tainted=True)
    allow = {"tools": ["rm"], "decision": "allow"}
    assert decide(tainted, a_policy(allow)).decision == "ask"
    assert decide(tainted, a_policy(allow, taint=False)).decision == "allow"
    assert decide(tainted, a_policy({"decision": "deny"})).decision == "deny"


def test_whoever_calls_without_a_key_is_not_asked_but_refused() -> None:
    policy = a_policy({"tools": ["mv"], "decision": "ask", "reason": "it moves things"})
    asked = decide(a_wish(a_tool("mv")), policy, is_local_anonymous=True)
    assert asked.decision == "deny"
    assert asked.reason == ("it moves things; whoever calls without an API key cannot agree to it")
    allowed = a_tool(policy="allow")
    assert decide(a_wish(allowed), policy, is_local_anonymous=True) == Ruling("allow")
    tainted = decide(a_wish(allowed, is_tainted=True), policy, is_local_anonymous=True)
    assert tainted.decision == "deny"


TOOLS = ["add", "rm", "mcp/time/now"]
RULES = st.fixed_dictionaries(
    {
        "tools": st.lists(st.sampled_from(["add", "r*", "mcp/*/*"]), min_size=1, max_size=2),
        "decision": st.sampled_from(STRICTNESS),
        "arguments": st.dictionaries(
            st.sampled_from(["a", "b"]), st.sampled_from(["x", "[xy]", "x+"]), max_size=2
        ),
    },
    optional={"keys": st.lists(st.sampled_from(["k", "l"]), min_size=1, max_size=1)},
)
VALUES = st.dictionaries(
    st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", "xx", LONG]), max_size=2
)


def plainly(wish: Wish, policy: PolicyConfig, values: dict[str, str]) -> str:
    """The first rule that applies, read as a person would, if `values` were the arguments."""
    import re

    for rule in policy.rules:
        if (
            any(matches(pattern, wish.tool.path) for pattern in rule.tools)
            and (not rule.keys or wish.caller.key in rule.keys)
            and all(
                name in values and re.fullmatch(pattern, values[name])
                for name, pattern in rule.arguments.items()
            )
        ):
            is_by_name = wish.tool.path in rule.tools or not wish.tool.effects
            return rule.decision if rule.decision != "allow" or is_by_name else "ask"
    return wish.tool.policy


@settings(max_examples=200, deadline=None)
@given(
    st.lists(RULES, max_size=5),
    st.sampled_from(TOOLS),
    st.sampled_from(STRICTNESS),
    VALUES,
    st.sampled_from([None, "k", "l"]),
)
def test_a_decision_is_that_of_the_first_rule_and_never_looser_than_any_that_may_be(
    rules: list[dict[str, Any]], path: str, own: Decision, values: dict[str, str], key: str | None
) -> None:
    policy = a_policy(*rules)
    wish = a_wish(a_tool(path, own), values, Caller("cli", key=key))
    decision = decide(wish, policy).decision
    if LONG not in values.values():
        assert decision == plainly(wish, policy, values)
    else:
        for stand_in in ("x", "y", "xx", "z"):
            as_short = {name: stand_in if it == LONG else it for name, it in values.items()}
            possible = plainly(wish, policy, as_short)
            assert STRICTNESS.index(decision) >= STRICTNESS.index(possible)
