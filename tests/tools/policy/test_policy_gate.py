"""The gate: who is asked, what is remembered of it and for how long, what the log says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import StoreError
from lmrun.profile.loader import LoadedProfile
from lmrun.store.approvals import Approvals
from lmrun.tools.policy import policy_gate
from lmrun.tools.policy.arguments import digest_arguments
from lmrun.tools.policy.audit import AuditLog
from lmrun.tools.policy.gate import Question, Reply, Verdict, Wish
from lmrun.tools.policy.policy_gate import PolicyGate
from lmrun.tools.tool import Caller, ToolResult
from tests.profile.support import load
from tests.support.policies import AT_THE_TERMINAL, a_tool, a_wish

PROFILE = """\
version: 1
tools:
  rm: {command: [rm, "{path}"], parameters: {path: {type: string}}}
"""
DENYING = PROFILE + "policy: {rules: [{tools: [rm], decision: deny, reason: never}]}\n"
ALLOWING = PROFILE + "policy: {rules: [{tools: [rm], decision: allow}]}\n"
NOBODY = "it needs somebody's agreement, and nobody is there to ask"


@dataclass
class Somebody:
    """Who answers `reply`, and remembers what was asked."""

    reply: Any = "once"
    asked: list[Question] = field(default_factory=list)

    async def __call__(self, question: Question) -> Reply:
        self.asked.append(question)
        return self.reply  # type: ignore[no-any-return]  # also what is no reply


@dataclass
class House:
    """A gate with a home of its own, under a profile that can be replaced."""

    folder: Path
    loaded: LoadedProfile | None = field(default_factory=lambda: load(PROFILE))
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.approvals = Approvals(self.folder / "approvals.db")
        self.audit = AuditLog(self.folder / "audit.jsonl")
        self.gate = PolicyGate(
            lambda: self.loaded, self.approvals, self.audit, ask_timeout_s=self.timeout_s
        )

    def stop(self) -> None:
        self.approvals.close()
        self.audit.close()

    def decide(self, wish: Wish, ask: Callable[[Question], Any] | None = None) -> Verdict:
        return asyncio.run(self.gate.decide(wish, ask))

    def lines(self) -> list[dict[str, Any]]:
        text = (self.folder / "audit.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.stop()


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


def test_a_chat_is_one_session_over_its_runs(house: House) -> None:
    first = Caller("cli", run="1", labels={"session": "chat"})
    assert house.decide(a_wish(caller=first), Somebody("session")).is_allowed
    assert house.decide(a_wish(caller=replace(first, run="2"))).is_allowed
    house.gate.forget_session("chat")
    assert not house.decide(a_wish(caller=replace(first, run="2"))).is_allowed


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


def test_a_call_that_is_given_up_while_somebody_is_asked_is_written_down(house: House) -> None:
    async def give_up() -> None:
        is_asked = asyncio.Event()

        async def think(question: Question) -> Reply:
            is_asked.set()
            await asyncio.Event().wait()
            return "once"

        task = asyncio.create_task(house.gate.decide(a_wish(), think))
        await asyncio.wait_for(is_asked.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    (line,) = house.lines()
    assert (line["allowed"], line["reason"]) == (False, "the call was given up")


def test_questions_of_several_calls_are_asked_at_the_same_time(house: House) -> None:
    async def ask_both() -> list[Verdict]:
        both = asyncio.Barrier(2)

        async def meet(question: Question) -> Reply:
            await asyncio.wait_for(both.wait(), 5)
            return "once"

        wishes = [a_wish(id="1"), a_wish(id="2")]
        return await asyncio.gather(*(house.gate.decide(it, meet) for it in wishes))

    assert [it.is_allowed for it in asyncio.run(ask_both())] == [True, True]


def test_arguments_without_end_are_denied_and_written_down(house: House) -> None:
    value: Any = 0
    for _ in range(100_000):
        value = [value]
    wish = a_wish(a_tool(policy="allow"), {"a": value})
    assert house.decide(wish) == Verdict(False, "its arguments are nested too deeply")
    assert house.lines()[0]["arguments"] is None


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


def test_the_log_says_what_was_decided_and_what_came_of_it(house: House) -> None:
    caller = Caller("act", "ci", "m", "helper", "run-7")
    wish = a_wish(a_tool(), {"path": "secret"}, caller, is_tainted=True)
    verdict = house.decide(wish, Somebody("session"))
    house.gate.note(wish, verdict, ToolResult("short", "failed", size=70_000), 0.0125)
    house.gate.note(wish, verdict, None, 1)
    decision, result, cancelled = house.lines()
    digest = digest_arguments({"path": "secret"})
    head = {
        "door": "act",
        "key": "ci",
        "agent": "helper",
        "model": "m",
        "run": "run-7",
        "call": "call-1",
        "tool": "rm",
        "arguments": digest,
    }
    assert {name: decision[name] for name in head} == head
    assert {name: result[name] for name in head} == head
    assert decision["event"] == "decision"
    assert (decision["decision"], decision["allowed"]) == ("ask", True)
    assert (decision["answer"], decision["tainted"], decision["rule"]) == ("session", True, None)
    assert result["event"] == "result"
    assert (result["error"], result["bytes"], result["ms"]) == ("failed", 70_000, 12.5)
    assert (cancelled["error"], cancelled["bytes"]) == ("cancelled", 0)
    assert "secret" not in (house.folder / "audit.jsonl").read_text()


def test_the_log_names_the_rule_and_says_all_of_a_denied_call_at_once(house: House) -> None:
    house.loaded = load(DENYING)
    wish = a_wish()
    house.gate.note(wish, house.decide(wish), None, 0)
    (line,) = house.lines()
    assert (line["decision"], line["allowed"], line["rule"]) == ("deny", False, 0)
    assert line["reason"] == "never"


def test_a_decision_costs_far_less_than_a_call(house: House) -> None:
    house.loaded = load(ALLOWING)

    async def decide_often() -> float:
        loop = asyncio.get_running_loop()
        wish = a_wish(a_tool(), {"path": "/tmp/x"})
        times = []
        for _ in range(300):
            begin = loop.time()
            verdict = await house.gate.decide(wish, None)
            house.gate.note(wish, verdict, ToolResult("done"), 0)
            times.append(loop.time() - begin)
        return sorted(times)[len(times) // 2]

    assert asyncio.run(decide_often()) < 0.001
