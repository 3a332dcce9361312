"""The gate: who is asked, what is remembered of it, and for how long."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import StoreError
from lmrun.store.approvals import Approvals
from lmrun.tools.policy import policy_gate
from lmrun.tools.policy.gate import Question, Reply, Verdict
from lmrun.tools.tool import Caller
from tests.profile.support import load
from tests.support.policies import (
    AT_THE_TERMINAL,
    DENYING,
    PROFILE,
    House,
    Somebody,
    a_tool,
    a_wish,
)

NOBODY = "it needs somebody's agreement, and nobody is there to ask"


def test_what_is_allowed_and_what_is_denied_is_never_asked_about(house: House) -> None:
    somebody = Somebody("always")
    assert house.decide(a_wish(a_tool(policy="allow")), somebody) == Verdict(True)
    denied = house.decide(a_wish(a_tool(policy="deny")), somebody)
    assert denied == Verdict(False, "the profile denies this tool")
    house.loaded = load(DENYING)
    assert house.decide(a_wish(), somebody) == Verdict(False, "never")
    assert somebody.asked == []


def test_with_nobody_to_ask_the_call_is_denied(house: House) -> None:
    assert house.decide(a_wish()) == Verdict(False, NOBODY)


def test_somebody_is_asked_about_the_call_as_it_would_be_run(house: House) -> None:
    somebody = Somebody("once")
    wish = a_wish(a_tool(), {"path": "/tmp/x"})
    assert house.decide(wish, somebody) == Verdict(True)
    assert somebody.asked == [Question("call-1", "rm", "Does rm.", {"path": "/tmp/x"})]


def test_once_is_once(house: House) -> None:
    somebody = Somebody("once")
    for _ in range(2):
        assert house.decide(a_wish(), somebody).is_allowed
    assert len(somebody.asked) == 2


@pytest.mark.parametrize("reply", ["no", "", "yes", None, 1])
def test_everything_but_a_yes_is_a_no_and_is_not_remembered(house: House, reply: Any) -> None:
    somebody = Somebody(reply)
    for _ in range(2):
        assert not house.decide(a_wish(), somebody).is_allowed
    assert len(somebody.asked) == 2


def test_an_agreement_for_the_session_is_for_this_call_in_this_session(house: House) -> None:
    somebody = Somebody("session")
    wish = a_wish(a_tool(), {"path": "/a", "force": 1})
    assert house.decide(wish, somebody).is_allowed
    same = a_wish(a_tool(), {"force": 1.0, "path": "/a"}, id="call-2")
    assert house.decide(same) == Verdict(True)
    for other in (
        a_wish(a_tool(), {"path": "/b", "force": 1}),
        a_wish(a_tool("mv"), {"path": "/a", "force": 1}),
        replace(wish, caller=replace(AT_THE_TERMINAL, run="run-2")),
        replace(wish, caller=replace(AT_THE_TERMINAL, key="somebody else's")),
    ):
        assert house.decide(other) == Verdict(False, NOBODY)


def test_what_was_agreed_to_for_a_run_is_forgotten_with_it(house: House) -> None:
    ends, goes_on = Caller("cli", run="1"), Caller("cli", run="2")
    for caller in (ends, goes_on):
        assert house.decide(a_wish(caller=caller), Somebody("session")).is_allowed
    house.gate.forget("1")
    assert not house.decide(a_wish(caller=ends)).is_allowed
    assert house.decide(a_wish(caller=goes_on)).is_allowed


def test_without_a_session_an_agreement_for_it_is_for_once(house: House) -> None:
    nameless = a_wish(caller=Caller("cli"))
    assert house.decide(nameless, Somebody("session")).is_allowed
    assert not house.decide(nameless).is_allowed


def test_agreements_for_sessions_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_gate, "MAX_SESSION_REPLIES", 50)

    async def agree() -> None:
        somebody = Somebody("session")
        for number in range(51):
            wish = a_wish(caller=Caller("cli", run=str(number)))
            assert (await house.gate.decide(wish, somebody)).is_allowed

    asyncio.run(agree())
    assert not house.decide(a_wish(caller=Caller("cli", run="0"))).is_allowed
    assert house.decide(a_wish(caller=Caller("cli", run="1"))).is_allowed


def test_always_outlives_the_server_and_needs_nobody(house: House) -> None:
    wish = a_wish(a_tool(), {"path": "/a"})
    assert house.decide(wish, Somebody("always")).is_allowed
    house.stop()
    house.start()
    other_run = replace(wish, caller=Caller("act", key="ci", run="another"))
    assert house.decide(other_run) == Verdict(True)
    assert not house.decide(a_wish(a_tool(), {"path": "/b"})).is_allowed


def test_always_can_be_taken_back_while_the_server_runs(house: House) -> None:
    assert house.decide(a_wish(), Somebody("always")).is_allowed
    from_outside = Approvals(house.folder / "approvals.db")
    assert from_outside.forget() == 1
    from_outside.close()
    next_run = a_wish(caller=Caller("cli", run="run-2"))
    assert house.decide(next_run) == Verdict(False, NOBODY)


def test_always_means_this_profile(house: House) -> None:
    assert house.decide(a_wish(), Somebody("always")).is_allowed
    assert house.loaded is not None
    house.stop()
    house.start()
    house.loaded = replace(house.loaded, root=Path("/profiles/other.yaml"))
    assert not house.decide(a_wish()).is_allowed


@pytest.mark.parametrize("reply", ["session", "always"])
def test_a_yes_of_before_overrides_no_rule_that_denies(house: House, reply: Reply) -> None:
    assert house.decide(a_wish(), Somebody(reply)).is_allowed
    house.loaded = load(DENYING)
    assert house.decide(a_wish(), Somebody("always")) == Verdict(False, "never")


def test_a_yes_that_comes_when_another_profile_denies_is_none(house: House) -> None:
    async def agree_late(question: Question) -> Reply:
        house.loaded = load(DENYING)
        return "always"

    assert house.decide(a_wish(), agree_late) == Verdict(False, "never")


def test_a_tainted_run_is_asked_about_what_is_allowed(house: House) -> None:
    allowed = a_tool(policy="allow")
    tainted = a_wish(allowed, is_tainted=True)
    denied = house.decide(tainted)
    assert not denied.is_allowed
    assert "the run has read content from elsewhere" in denied.reason
    somebody = Somebody("once")
    assert house.decide(tainted, somebody).is_allowed
    assert somebody.asked[0].reason == (
        "the run has read content from elsewhere, which may be what asks for this"
    )
    harmless = a_tool("add", "allow", [])
    assert house.decide(a_wish(harmless, is_tainted=True)) == Verdict(True)


@pytest.mark.parametrize("reply", ["session", "always"])
def test_an_agreement_from_before_the_taint_does_not_hold_after_it(
    house: House, reply: Reply
) -> None:
    before, after = a_wish(), a_wish(is_tainted=True)
    assert house.decide(before, Somebody(reply)).is_allowed
    assert not house.decide(after).is_allowed
    assert house.decide(after, Somebody(reply)).is_allowed
    assert house.decide(after).is_allowed
    assert house.decide(before).is_allowed


@pytest.mark.parametrize(
    ("caller", "can_be_asked"),
    [
        (Caller("cli"), True),
        (Caller("cli", agent="helper"), True),
        (Caller("responses"), True),
        (Caller("responses", agent="helper"), False),
        (Caller("chat", agent="helper"), False),
        (Caller("messages", agent="helper"), False),
        (Caller("act"), False),
        (Caller("mcp"), False),
        (Caller("act", key="ci"), True),
        (Caller("chat", key="ci", agent="helper"), True),
    ],
)
def test_whoever_has_no_key_cannot_agree_over_the_network(
    house: House, caller: Caller, can_be_asked: bool
) -> None:
    somebody = Somebody("always")
    assert house.decide(a_wish(caller=caller), somebody).is_allowed == can_be_asked
    assert len(somebody.asked) == can_be_asked
    assert house.decide(a_wish(a_tool(policy="allow"), caller=caller)).is_allowed


def test_a_call_that_was_always_agreed_to_is_none_of_a_caller_without_a_key(house: House) -> None:
    assert house.decide(a_wish(), Somebody("always")).is_allowed
    anonymous = a_wish(caller=Caller("chat", agent="helper"))
    assert not house.decide(anonymous).is_allowed


def test_an_answer_is_not_waited_for_without_end(tmp_path: Path) -> None:
    house = House(tmp_path, timeout_s=0.05)
    ended = []

    async def think(question: Question) -> Reply:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(question.id)
        return "once"

    assert house.decide(a_wish(), think) == Verdict(
        False, "it needs somebody's agreement, and nobody answered in time"
    )
    assert ended == ["call-1"]
    assert house.lines()[0]["answer"] == "no answer"
    house.stop()


def test_questions_of_several_calls_are_asked_at_the_same_time(house: House) -> None:
    async def ask_both() -> list[Verdict]:
        both = asyncio.Barrier(2)

        async def meet(question: Question) -> Reply:
            await asyncio.wait_for(both.wait(), 5)
            return "once"

        wishes = [a_wish(id="1"), a_wish(id="2")]
        return await asyncio.gather(*(house.gate.decide(it, meet) for it in wishes))

    assert [it.is_allowed for it in asyncio.run(ask_both())] == [True, True]


def test_where_agreements_cannot_be_kept_calls_go_on(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.approvals.close()
    wish = a_wish()
    assert house.decide(wish, Somebody("always")).is_allowed
    assert house.decide(wish).is_allowed
    assert "an agreement holds until the run ends, not always" in caplog.text
    with pytest.raises(StoreError):
        house.approvals.list()


def test_without_a_profile_the_tool_decides(house: House) -> None:
    house.loaded = None
    assert house.decide(a_wish(a_tool(policy="allow"))).is_allowed
    assert not house.decide(a_wish()).is_allowed


def test_rules_about_a_model_hold_for_every_name_of_it(house: House) -> None:
    text = (
        PROFILE + "models:\n"
        "  one: {source: file:m, identifier: a}\n"
        "  two: {source: file:m, instances: [{identifier: b}, {identifier: c}]}\n"
        "policy:\n  rules:\n    - {tools: [rm], models: [MODEL], decision: DECISION}\n"
    )
    meant = {
        ("one", "deny"): "one a",
        ("a", "deny"): "one a",
        ("two", "deny"): "two b c",
        ("b", "deny"): "two b",
        ("a", "allow"): "one a",
        ("two", "allow"): "two b c",
        ("b", "allow"): "b",
    }
    for (model, decision), names in meant.items():
        house.loaded = load(text.replace("MODEL", model).replace("DECISION", decision))
        own = a_tool(policy="allow" if decision == "deny" else "ask")
        for name in ("one", "a", "two", "b", "c"):
            verdict = house.decide(a_wish(own, caller=Caller("cli", model=name)))
            is_meant = name in names.split()
            assert verdict.is_allowed == (is_meant == (decision == "allow")), (model, name)
