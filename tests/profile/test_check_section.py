"""The section `checks`: what is wrong in it is found before any model is asked."""

from __future__ import annotations

import pytest

from tests.profile.support import find_problems, load, show

MODELS = """\
version: 1
models:
  m: {source: file:m.gguf, identifier: assistant}
  off: {source: file:m.gguf, state: absent}
"""
PLACE = "main.yaml:6:"


def a_check(fields: str) -> str:
    return f"{MODELS}checks:\n  c: {{{fields}}}\n"


def expecting(expectations: str) -> str:
    return a_check(f"model: m, prompt: Hi, expect: {{{expectations}}}")


WRONG = {
    "unknown model": (
        a_check("model: assistent, prompt: Hi, expect: {contains: x}"),
        "checks.c.model: no model has this key or identifier; did you mean `assistant`?",
    ),
    "absent model": (
        a_check("model: off, prompt: Hi, expect: {contains: x}"),
        "checks.c.model: this model is `absent`; a check needs one that can be loaded",
    ),
    "no question": (
        a_check("model: m, expect: {contains: x}"),
        "checks.c: needs either `prompt` or `messages`",
    ),
    "two questions": (
        a_check("model: m, prompt: Hi, messages: [{role: user, content: Ho}], expect: {regex: x}"),
        "checks.c: needs either `prompt` or `messages`",
    ),
    "no expectation": (expecting(""), "checks.c.expect: expects nothing"),
    "an expectation that is off": (
        expecting("same_twice: false"),
        "checks.c.expect: expects nothing; say what the answer must be like",
    ),
    "bad regex": (
        expecting('regex: "(a"'),
        "checks.c.expect.regex: is no regular expression of Python's: missing ), "
        "unterminated subpattern at character 1",
    ),
    "bad schema": (
        expecting("json_schema: {properties: {a: {type: txt}}}"),
        "checks.c.expect.json_schema: is no JSON schema: it is wrong at `properties/a/type`",
    ),
    "schema elsewhere": (
        expecting('json_schema: {items: {$ref: "https://example.com/s.json"}}'),
        "checks.c.expect.json_schema: refers to another document",
    ),
    "golden file above": (
        expecting("golden: ../g.json"),
        "checks.c.expect.golden: must be below this profile's directory",
    ),
    "golden file anywhere": (
        expecting("golden: /tmp/g.json"),
        "checks.c.expect.golden: must be below this profile's directory",
    ),
    "golden and equals": (
        expecting("golden: g.json, equals: x"),
        "checks.c.expect: `equals` and `golden` both say what the whole answer is; keep one",
    ),
    "golden by chance": (
        a_check("model: m, prompt: Hi, deterministic: off, expect: {golden: g.json}"),
        "checks.c: `expect.golden` needs `deterministic: strict`, the default",
    ),
    "in it and not": (
        expecting("contains: [a, b], not_contains: b"),
        "checks.c.expect: `contains` and `not_contains` name the same text; no answer is both",
    ),
    "call without tools": (
        expecting("tool_call: {name: t}"),
        "checks.c: a tool call is expected, but there are no `tools`",
    ),
    "call of another tool": (
        a_check("model: m, prompt: Hi, tools: {u: {}}, expect: {tool_call: {name: t}}"),
        "checks.c: `expect.tool_call.name` is none of `tools`",
    ),
    "call that may not be": (
        a_check(
            "model: m, prompt: Hi, tools: {t: {}}, tool_choice: none, "
            "expect: {finish_reason: tool_calls}"
        ),
        "checks.c: a tool call is expected, but `tool_choice` is none",
    ),
    "required call without tools": (
        a_check("model: m, prompt: Hi, tool_choice: required, expect: {regex: x}"),
        "checks.c: `tool_choice: required` needs `tools`",
    ),
    "tool of no object": (
        a_check(
            "model: m, prompt: Hi, tools: {t: {parameters: {type: array}}}, expect: {regex: x}"
        ),
        "checks.c.tools.t: `parameters` must be the schema of an object (`type: object`)",
    ),
    "tool's name": (
        a_check("model: m, prompt: Hi, tools: {a/b: {}}, expect: {regex: x}"),
        "checks.c.tools.a/b: the key must be at most 64 letters, digits and `. _ -`",
    ),
    "seed twice": (
        a_check("model: m, prompt: Hi, prediction: {seed: 1}, expect: {regex: x}"),
        "checks.c: `prediction.seed` stands beside `prediction` here: `seed`",
    ),
    "setting that shows nowhere": (
        a_check("model: m, prompt: Hi, prediction: {logprobs: 1}, expect: {regex: x}"),
        "checks.c: `prediction.logprobs` shows nowhere in a check; leave it out",
    ),
    "result of no call": (
        a_check("model: m, messages: [{role: tool, content: x}], expect: {regex: x}"),
        "checks.c.messages[0]: `tool_call_id` belongs to messages of the role tool",
    ),
    "user who calls": (
        a_check(
            "model: m, messages: [{role: user, content: x, tool_calls: [{id: a, name: t}]}], "
            "expect: {regex: x}"
        ),
        "checks.c.messages[0]: `tool_calls` belongs to messages of the role assistant",
    ),
    "message that says nothing": (
        a_check("model: m, messages: [{role: user}], expect: {regex: x}"),
        "checks.c.messages[0]: needs `content`, what is said",
    ),
    "time without unit": (
        expecting("max_ttft: 2"),
        "checks.c.expect.max_ttft: a duration needs a number and a unit",
    ),
    "too many others": (
        expecting("same_under_load: 1000"),
        "checks.c.expect.same_under_load: must be at most 64",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_check_is_one_problem_with_its_place_and_what_would_be_right(
    text: str, expected: str
) -> None:
    problems = find_problems(text)
    assert len(problems) == 1, show(problems)
    line = show(problems)
    assert line.startswith(PLACE)
    assert line.partition(": ")[2].startswith(expected), line


def test_a_bad_regex_from_a_variable_is_not_quoted() -> None:
    text = a_check('model: m, prompt: Hi, expect: {regex: "${env:SECRET}"}')
    (problem,) = find_problems(text, {"SECRET": "(?P=hunter2)"})
    assert "hunter2" not in problem.message


@pytest.mark.parametrize("name", ["m", "assistant"])
def test_a_check_names_its_model_by_key_or_identifier(name: str) -> None:
    loaded = load(a_check(f"model: {name}, prompt: Hi, expect: {{json_schema: false}}"))
    assert loaded.profile.checks["c"].model == name


def test_one_text_or_several_are_expected_alike() -> None:
    check = load(expecting("contains: a, not_contains: [b, c]")).profile.checks["c"]
    assert (check.expect.contains, check.expect.not_contains) == (("a",), ("b", "c"))


def test_checks_are_strict_and_seeded_unless_they_say_otherwise() -> None:
    check = load(expecting("same_twice: true")).profile.checks["c"]
    assert (check.deterministic, check.seed, check.timeout) == ("strict", 0, 300.0)
