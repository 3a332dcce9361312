"""`lmrun policy`: cases are judged without a server, and what was agreed to can be taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmrun.store.approvals import Approval, Approvals
from lmrun.store.home import Home
from tests.cli.conftest import Run

PROFILE = """\
version: 1
tools:
  rm: {command: [rm, "{path}"], parameters: {path: {type: string}}}
  look: {python: "t:look", policy: allow}
policy:
  rules:
    - {tools: [rm], arguments: {path: "/etc/.*"}, decision: deny, reason: hands off}
"""
CASES = """\
cases:
  - {tool: rm, arguments: {path: /etc/passwd}, expect: deny}
  - {tool: rm, arguments: {path: /etc/passwd}, expect: ask}
  - {tool: look, expect: ask}
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "p.yaml"
    file.write_text(PROFILE)
    (tmp_path / "cases.yaml").write_text(CASES)
    return file


def test_cases_that_are_judged_otherwise_are_shown_with_rule_and_reason(
    lmrun: Run, profile: Path
) -> None:
    result = lmrun("policy", "test", "cases.yaml", "--profile", profile)

    assert (result.code, result.err) == (1, "")
    assert result.out.splitlines() == [
        "✗ cases.yaml:3  rm    expected ask, is deny   policy.rules[0]: hands off",
        "✗ cases.yaml:4  look  expected ask, is allow  the tool's own policy",
        "3 cases: 1 passed, 2 failed.",
    ]


def test_when_all_are_judged_as_expected_that_is_all_it_says(
    lmrun: Run, profile: Path, tmp_path: Path
) -> None:
    (tmp_path / "cases.yaml").write_text("\n".join(CASES.splitlines()[:2]))

    result = lmrun("policy", "test", "cases.yaml", "-p", "p.yaml")

    assert (result.code, result.out, result.err) == (0, "1 case: 1 passed.\n", "")


def test_json_has_every_case(lmrun: Run, profile: Path) -> None:
    result = lmrun("policy", "test", "--json", "cases.yaml", "-p", "p.yaml")

    assert result.code == 1
    first, _, last = json.loads(result.out)["cases"]
    assert first == {
        "line": 2,
        "tool": "rm",
        "expect": "deny",
        "decision": "deny",
        "rule": 0,
        "reason": "hands off",
        "passed": True,
    }
    assert (last["rule"], last["reason"], last["passed"]) == (None, None, False)


def test_problems_of_the_cases_are_shown_with_their_places(
    lmrun: Run, profile: Path, tmp_path: Path
) -> None:
    (tmp_path / "cases.yaml").write_text(
        "cases: [{tool: rn, expect: ask}, {tool: look, expect: x}]\n"
    )

    result = lmrun("policy", "test", "cases.yaml", "-p", "p.yaml")

    assert result.code == 1
    assert result.out == "cases.yaml:1:55: cases[1].expect: must be `allow`, `ask` or `deny`\n"
    assert result.err == "Error: 1 problem in cases.yaml.\n"
    as_json = lmrun("policy", "test", "--json", "cases.yaml", "-p", "p.yaml")
    (problem,) = json.loads(as_json.out)["problems"]
    assert (as_json.code, problem["line"], problem["column"]) == (1, 1, 55)


def test_problems_of_the_profile_come_first(lmrun: Run, profile: Path) -> None:
    profile.write_text(PROFILE.replace("tools: [rm]", "tools: [lok]"))

    result = lmrun("policy", "test", "cases.yaml", "-p", "p.yaml")

    assert result.code == 1
    assert "policy.rules[0].tools[0]: no tool has this name; did you mean `look`?" in result.err


def test_without_a_profile_it_says_how_to_name_one(lmrun: Run, profile: Path) -> None:
    result = lmrun("policy", "test", "cases.yaml")

    assert result.code == 1
    assert result.err == (
        "Error: No profile was applied here.\nHint: Name one: `lmrun policy test --profile FILE`.\n"
    )


def test_missing_files_are_named(lmrun: Run, profile: Path) -> None:
    assert "There is no file q.yaml" in lmrun("policy", "test", "cases.yaml", "-p", "q.yaml").err
    result = lmrun("policy", "test", "case.yaml", "-p", "p.yaml")
    assert (result.code, result.out) == (1, "case.yaml: no such file\n")


def test_what_was_agreed_to_for_good_is_listed_and_taken_back(
    lmrun: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lmrun("policy", "remembered").out == "Nobody has agreed to a call for good.\n"
    store = Approvals(Home(home).approvals)
    for tool in ("rm", "look"):
        store.add(Approval(str(tmp_path / "p.yaml"), tool, f"{tool:0<64}"))
    store.close()

    assert lmrun("policy", "remembered").out.splitlines() == [
        "look  arguments look00000000  p.yaml",
        "rm    arguments rm0000000000  p.yaml",
    ]
    listed = json.loads(lmrun("policy", "remembered", "--json").out)["approvals"]
    assert [it["tool"] for it in listed] == ["look", "rm"]
    assert lmrun("policy", "forget", "rm").out == "1 agreement forgotten.\n"
    assert lmrun("policy", "forget", "rm").out == "0 agreements forgotten.\n"
    assert lmrun("policy", "forget").out == "1 agreement forgotten.\n"


def test_help_names_the_commands(lmrun: Run) -> None:
    result = lmrun("policy", "--help")
    assert result.code == 0
    assert all(name in result.out for name in ("test", "remembered", "forget"))
