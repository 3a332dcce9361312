"""Files of cases: what is wrong with them, and how a profile's policy judges them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lmrun.errors import Problem
from lmrun.profile.text.files import Unreadable
from lmrun.profile.tooling.cases import PlacedCase, read_cases
from lmrun.tools.policy.cases import judge_cases
from lmrun.tools.policy.rules import Ruling
from tests.profile.support import load

PROFILE = """\
version: 1
server: {api_keys: [{name: ci, key: "${env:K}"}]}
models:
  m: {source: file:m.gguf, identifier: assistant}
tools:
  rm: {command: [rm, "{path}"], parameters: {path: {type: string}}, policy: deny}
  get: {http: {url: "https://e.com/{x}"}, parameters: {x: {}}, policy: allow}
  look: {python: "t:look", policy: allow, effects: []}
mcp_servers:
  time:
    command: [time-server]
    policy: allow
    tools:
      allow: [get_*, get_then]
      deny: [get_secret]
      policy: {get_zone: deny}
      effects: {get_now: []}
  docs: {url: "https://docs.example.com/mcp", resources: true, prompts: true}
agents:
  helper: {model: assistant, tools: [get, 'mcp/time/*']}
policy:
  rules:
    - {tools: [rm], arguments: {path: '/tmp/\\w+'}, decision: allow}
    - {tools: [get], models: [m], decision: ask, reason: m asks}
    - {tools: [get], keys: [ci], decision: deny}
    - {tools: [mcp/docs/get_prompt], arguments: {name: 'draft.*'}, decision: deny}
"""
LOADED = load(PROFILE, {"K": "key"})
FILE = Path("/cases.yaml")


def read(text: str) -> tuple[tuple[PlacedCase, ...], tuple[Problem, ...]]:
    return read_cases(FILE, LOADED.profile, lambda _: text)


def judge(case: str) -> Ruling:
    cases, problems = read(f"cases:\n  - {{{case}, expect: allow}}\n")
    assert problems == ()
    (judged,) = judge_cases(cases, LOADED)
    assert judged.has_passed == (judged.ruling.decision == "allow")
    return judged.ruling


WRONG = {
    "empty": ("", "1:1: the file is empty; it needs `cases: [{tool: …, expect: …}]`"),
    "no YAML": ("cases: [", "2:1: a value is missing here"),
    "a list": ("- {tool: rm}", "1:1: the file must be a mapping (`key: value`), not a list"),
    "no cases": ("cases: []", "1:8: cases: must not be empty"),
    "another section": (
        "cases: [{tool: rm, expect: ask}]\ncase: 1",
        "2:1: case: unknown key; did you mean `cases`?",
    ),
    "a key twice": (
        "cases: [{tool: rm, tool: rm, expect: ask}]",
        "1:20: the key `tool` is already on line 1; keep one of them",
    ),
    "no cases at all": ("{}", "1:1: cases: is required: calls, each with what must become of it"),
    "no tool": ("cases: [{expect: ask}]", "1:9: cases[0].tool: is required: the tool, like `add`"),
    "nothing expected": (
        "cases: [{tool: rm}]",
        "1:9: cases[0].expect: is required: `allow`, `ask` or `deny`",
    ),
    "something else expected": (
        "cases: [{tool: rm, expect: yes}]",
        "1:28: cases[0].expect: must be `allow`, `ask` or `deny`",
    ),
    "unknown field": (
        "cases: [{tool: rm, argumets: {}, expect: ask}]",
        "1:20: cases[0].argumets: unknown key; did you mean `arguments`?",
    ),
    "no mapping": (
        "cases: [{tool: rm, arguments: [1], expect: ask}]",
        "1:31: cases[0].arguments: must be a mapping",
    ),
    "taint as text": (
        "cases: [{tool: rm, tainted: maybe, expect: ask}]",
        "1:29: cases[0].tainted: must be true or false, not text",
    ),
    "unknown tool": (
        "cases: [{tool: lok, expect: ask}]",
        "1:16: cases[0].tool: no tool has this name; did you mean `look`?",
    ),
    "a tool as models call it": (
        "cases: [{tool: time__get_now, expect: ask}]",
        "1:16: cases[0].tool: no tool has this name; known here: rm, get, look",
    ),
    "unknown server": (
        "cases: [{tool: mcp/tine/x, expect: ask}]",
        "1:16: cases[0].tool: no MCP server has this name; did you mean `time`?",
    ),
    "half a tool": (
        "cases: [{tool: mcp/time, expect: ask}]",
        "1:16: cases[0].tool: must be a tool like `add` or `mcp/time/get_current_time`",
    ),
    "unknown key": (
        "cases: [{tool: rm, key: cd, expect: ask}]",
        "1:25: cases[0].key: no API key has this name; known here: ci",
    ),
    "unknown model": (
        "cases: [{tool: rm, model: assistent, expect: ask}]",
        "1:27: cases[0].model: no model has this key or identifier; did you mean `assistant`?",
    ),
    "unknown agent": (
        "cases: [{tool: rm, agent: h, expect: ask}]",
        "1:27: cases[0].agent: no agent has this name; known here: helper",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_has_one_problem_with_its_place(text: str, expected: str) -> None:
    cases, problems = read(text)
    assert cases == ()
    assert len(problems) == 1
    assert str(problems[0]).startswith(f"/cases.yaml:{expected}")


def test_all_problems_are_found_at_once() -> None:
    _, problems = read(
        "cases:\n  - {tool: rn, key: x, expect: ask}\n  - {tool: '*', expect: ask}\n"
    )
    assert [(it.line, it.path) for it in problems] == [
        (2, "cases[0].tool"),
        (2, "cases[0].key"),
        (3, "cases[1].tool"),
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(errno.ENOENT, "gone"), "/cases.yaml: no such file"),
        (Unreadable("byte 0xff is not UTF-8", 3, 4), "/cases.yaml:3:4: byte 0xff is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem(error: Exception, expected: str) -> None:
    def fail(path: Path) -> str:
        raise error

    cases, problems = read_cases(FILE, LOADED.profile, fail)
    assert (cases, [str(it) for it in problems]) == ((), [expected])


def test_a_case_knows_its_line() -> None:
    cases, _ = read(
        "# first\ncases:\n  - {tool: rm, expect: ask}\n\n  - tool: rm\n    expect: ask\n"
    )
    assert [it.line for it in cases] == [3, 5]


@pytest.mark.parametrize(
    ("case", "decision", "rule"),
    [
        ("tool: rm", "deny", None),
        ("tool: rm, arguments: {path: /tmp/x}", "allow", 0),
        ("tool: rm, arguments: {path: /tmp/x}, tainted: true", "ask", 0),
        ("tool: get", "allow", None),
        ("tool: get, tainted: true", "ask", None),
        ("tool: get, key: ci", "deny", 2),
        ("tool: get, model: m, key: ci", "ask", 1),
        ("tool: get, model: assistant", "ask", 1),
        ("tool: get, agent: helper", "ask", 1),
        ("tool: look, tainted: true", "allow", None),
        ("tool: look, agent: helper", "deny", None),
        ("tool: mcp/time/get_now, tainted: true", "allow", None),
        ("tool: mcp/time/get_then", "allow", None),
        ("tool: mcp/time/get_then, tainted: true", "ask", None),
        ("tool: mcp/time/get_more", "ask", None),
        ("tool: mcp/time/get_zone", "deny", None),
        ("tool: mcp/time/get_secret", "deny", None),
        ("tool: mcp/time/set_now", "deny", None),
        ("tool: mcp/docs/read_resource", "ask", None),
        ("tool: mcp/docs/other", "deny", None),
        ("tool: mcp/docs/get_prompt, arguments: {name: review}", "allow", None),
        ("tool: mcp/docs/get_prompt, arguments: {name: drafts}", "deny", 3),
        ("tool: mcp/time/get_prompt", "ask", None),
    ],
)
def test_a_case_is_judged_as_the_call_would_be(case: str, decision: str, rule: int | None) -> None:
    ruling = judge(case)
    assert (ruling.decision, ruling.rule) == (decision, rule)


def test_what_is_not_offered_at_all_says_why() -> None:
    assert judge("tool: mcp/time/set_now").reason == "`tools` of its server does not offer it"
    assert judge("tool: look, agent: helper").reason == "the agent helper is not given this tool"
