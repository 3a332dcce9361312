"""A profile that is applied while a model thinks or somebody is asked: what it says then counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lmrun.profile.loader import LoadedProfile
from lmrun.store.approvals import Approval
from lmrun.tools.declared import make_declared_spec
from lmrun.tools.mcp.consent import ToolDefinition
from lmrun.tools.mcp.listing import make_spec
from lmrun.tools.policy.gate import Ask, Question, Reply, Verdict
from lmrun.tools.tool import Caller, ToolSpec
from tests.profile.support import load
from tests.support.policies import PROFILE, House, Somebody, a_wish

GONE = Verdict(False, "the profile does not declare this tool any more")
OTHER = Verdict(False, "the tool does something else since the model was told of it")
NOT_OFFERED = Verdict(False, "the profile does not offer this tool any more")
DENIED = Verdict(False, "the profile denies this tool")

RM = '  rm: {command: [rm, "{path}"], parameters: {path: {type: string}}'
SERVERS = "mcp_servers:\n  s: {command: [x], tools: {allow: [now]}}\n"


def rm(fields: str = "") -> str:
    return PROFILE.replace(RM, f"{RM}{fields}")


def told_of_rm(loaded: LoadedProfile) -> ToolSpec:
    """As models are told of it under that profile."""
    return make_declared_spec("rm", loaded.profile.tools["rm"])


def told_of_now(loaded: LoadedProfile) -> ToolSpec:
    definition = ToolDefinition("now", None, {"type": "object"})
    return make_spec("s", loaded.profile.mcp_servers["s"], definition)


def apply_and_agree(house: House, text: str, reply: Reply = "once") -> Ask:
    async def ask(question: Question) -> Reply:
        house.loaded = load(text)
        return reply

    return ask


CHANGES = {
    "the same again": (PROFILE, Verdict(True)),
    "another policy": (rm(", policy: deny"), DENIED),
    "allowed": (rm(", policy: allow"), Verdict(True)),
    "no tool": ("version: 1\n", GONE),
    "another command": (PROFILE.replace("[rm,", "[shred,"), OTHER),
    "an argument more": (PROFILE.replace('"{path}"]', '-r, "{path}"]'), OTHER),
    "another schema": (PROFILE.replace("type: string", "type: string, maxLength: 9"), OTHER),
    "another directory": (rm(", cwd: below"), OTHER),
    "a variable more": (rm(", env: [LANG]"), OTHER),
    "more time": (rm(", timeout: 2m, description: Removes."), Verdict(True)),
    "another tool beside it": (PROFILE + "  mv: {command: [mv]}\n", Verdict(True)),
}


@pytest.mark.parametrize("reply", ["once", "session", "always"])
@pytest.mark.parametrize(("text", "verdict"), CHANGES.values(), ids=CHANGES)
def test_a_yes_is_to_the_tool_as_it_was_shown_and_overrides_no_deny(
    house: House, text: str, verdict: Verdict, reply: Reply
) -> None:
    house.loaded = load(PROFILE)
    wish = a_wish(told_of_rm(house.loaded))
    assert house.decide(wish, apply_and_agree(house, text, reply)) == verdict
    line = house.lines()[-1]
    assert (line["allowed"], line["answer"]) == (verdict.is_allowed, reply)
    is_kept = verdict.is_allowed and reply == "always"
    assert len(house.approvals.list()) == is_kept


@pytest.mark.parametrize(("text", "verdict"), CHANGES.values(), ids=CHANGES)
def test_what_is_applied_while_a_model_thinks_counts_before_anybody_is_asked(
    house: House, text: str, verdict: Verdict
) -> None:
    house.loaded = load(PROFILE)
    wish = a_wish(told_of_rm(house.loaded))
    house.loaded = load(text)
    somebody = Somebody("once")
    assert house.decide(wish, somebody) == verdict
    assert len(somebody.asked) == (verdict.is_allowed and "policy: allow" not in text)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (SERVERS, Verdict(True)),
        (SERVERS.replace("allow: [now]", "allow: [now], policy: {now: deny}"), DENIED),
        (SERVERS.replace("}}", "}, policy: deny}"), DENIED),
        (SERVERS.replace("allow: [now]", "allow: ['*'], deny: [now]"), NOT_OFFERED),
        (SERVERS.replace("[now]", "[then]"), NOT_OFFERED),
        ("", NOT_OFFERED),
    ],
)
def test_the_same_holds_for_tools_of_mcp_servers(house: House, text: str, verdict: Verdict) -> None:
    house.loaded = load("version: 1\n" + SERVERS)
    wish = a_wish(told_of_now(house.loaded))
    after = apply_and_agree(house, f"version: 1\n{text}")
    assert house.decide(wish, after) == verdict
    assert house.decide(wish, Somebody("once")) == verdict


def test_a_tool_that_a_request_brought_along_is_none_of_the_profile_s(house: House) -> None:
    spec = ToolSpec("ephemeral/s/now", "s__now", None, {}, policy="allow")
    house.loaded = load("version: 1\n")
    assert house.decide(a_wish(spec)) == Verdict(True)


@pytest.mark.parametrize(("before", "after"), [("", ", effects: []"), (", effects: []", "")])
def test_taint_demotes_what_the_profile_says_now(house: House, before: str, after: str) -> None:
    told = load(rm(f", policy: allow{before}"))
    house.loaded = load(rm(f", policy: allow{after}"))
    verdict = house.decide(a_wish(told_of_rm(told), is_tainted=True))
    assert verdict.is_allowed == ("effects" in after)


def test_what_was_agreed_to_under_one_profile_is_asked_about_under_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.loaded = load(PROFILE)
    wish = a_wish(told_of_rm(house.loaded), caller=Caller("cli"))
    assert house.decide(wish, Somebody("always")).is_allowed
    holds = house.approvals.holds

    def hold_while_another_is_applied(wanted: Approval) -> bool:
        house.loaded = replace(load(PROFILE), root=Path("/profiles/other.yaml"))
        return holds(wanted)

    monkeypatch.setattr(house.approvals, "holds", hold_while_another_is_applied)
    somebody = Somebody("no")
    assert not house.decide(wish, somebody).is_allowed
    assert len(somebody.asked) == 1


def test_rules_about_a_model_hold_for_what_was_loaded_of_it_by_hand(house: House) -> None:
    models = "models: {one: {source: file:m}, two: {source: file:m}}\n"
    house.keys = {"mine": "one", "yours": "two"}
    for decision, own in (("deny", ", policy: allow"), ("allow", "")):
        rule = f"{{tools: [rm], models: [one], decision: {decision}}}"
        house.loaded = load(f"{rm(own)}{models}policy: {{rules: [{rule}]}}\n")
        for name in ("one", "two", "mine", "yours", "nobody"):
            wish = a_wish(told_of_rm(house.loaded), caller=Caller("cli", model=name))
            is_meant = name in ("one", "mine")
            assert house.decide(wish).is_allowed == (is_meant == (decision == "allow")), name
