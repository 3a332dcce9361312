"""What tools, MCP servers, agents and the policy say that the rest of a profile contradicts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profile.support import find_problems, show

BASE = """\
version: 1
server: {api_keys: [{name: ci, key: "${env:K}"}]}
models:
  m: {source: file:m.gguf, identifier: assistant}
  off: {source: file:m.gguf, state: absent}
presets: {terse: {system_prompt: Be brief.}}
tools:
  add: {python: "tools:add"}
  disk_usage: {command: [du, "{path}"], parameters: {path: {type: string}}}
mcp_servers:
  time: {command: [time-server], tools: {allow: [now, get_*], deny: [get_secret]}}
  docs: {url: "https://docs.example.com/mcp", resources: true, prompts: true}
  mute: {command: [mute-server]}
"""
ENVIRONMENT = {"K": "k" * 32, "T": "top{secret}"}


def agents(fields: str) -> str:
    return BASE + f"agents:\n  a: {{{fields}}}\n"


def presets(fields: str, model: str = "", agent: str = "") -> str:
    """`p` has `fields`, `model` and `agent` stand in the model `m` and in the agent `a`."""
    text = BASE.replace("presets: {", f"presets: {{p: {{{fields}}}, ")
    text = text.replace("assistant}", f"assistant{model}}}", 1)
    return text + (f"agents:\n  a: {{model: m, {agent}}}\n" if agent else "")


def rules(fields: str) -> str:
    return BASE + f"agents: {{a: {{model: m}}}}\npolicy:\n  rules:\n    - {{{fields}}}\n"


def servers(fields: str) -> str:
    return BASE + f"  x: {{command: [x], {fields}}}\n"


def tools(key: str, fields: str) -> str:
    return BASE.replace("tools:\n", f"tools:\n  {key}: {{{fields}}}\n", 1)


LITERAL = "looks like a secret, which must not stand in a profile; "

IN_A_RUN = (
    "this preset has an `mcp_prompt`, which is asked for when a run begins; agents and runs can "
    "use it, a model by itself cannot"
)

WRONG = {
    "prompt of no server": (
        presets("mcp_prompt: mcp/dogs/review"),
        "main.yaml:6:27: presets.p.mcp_prompt: no MCP server has this name; did you mean `docs`?",
    ),
    "prompt of a server that may give none": (
        presets("mcp_prompt: mcp/time/review"),
        "main.yaml:6:27: presets.p.mcp_prompt: `mcp_servers.time` must say `prompts: true` for "
        "that",
    ),
    "what is no prompt": (
        presets("mcp_prompt: docs/review"),
        "main.yaml:6:27: presets.p.mcp_prompt: must be a prompt of an MCP server, like "
        "`mcp/docs/review`",
    ),
    "arguments of no prompt": (
        presets("arguments: {a: b}"),
        "main.yaml:6:14: presets.p: `arguments` are filled into an `mcp_prompt`; name one",
    ),
    "a model's preset with a prompt": (
        presets("mcp_prompt: mcp/docs/review", ", preset: p"),
        f"main.yaml:4:59: models.m.preset: {IN_A_RUN}",
    ),
    "a preset with a prompt to be computed before": (
        presets("mcp_prompt: mcp/docs/review", ", prewarm: [terse, p]"),
        f"main.yaml:4:68: models.m.prewarm[1]: {IN_A_RUN}",
    ),
    "agent's prompt": (
        agents("model: m, preset: mcp/time/review"),
        "main.yaml:15:25: agents.a.preset: `mcp_servers.time` must say `prompts: true` for that",
    ),
    "agent's preset that is neither": (
        agents("model: m, preset: docs/review"),
        "main.yaml:15:25: agents.a.preset: must be the name of a preset, or a prompt of an MCP "
        "server like `mcp/docs/review`",
    ),
    "agent's context of no server": (
        agents("model: m, context: ['mcp/dogs/note://a']"),
        "main.yaml:15:27: agents.a.context[0]: no MCP server has this name; did you mean `docs`?",
    ),
    "agent's context of a server that may give none": (
        agents("model: m, context: ['mcp/docs/note://a', 'mcp/time/note://a']"),
        "main.yaml:15:48: agents.a.context[1]: `mcp_servers.time` must say `resources: true` for "
        "that",
    ),
    "agent's context that is no resource": (
        agents("model: m, context: [mcp/docs/note]"),
        "main.yaml:15:27: agents.a.context[0]: must be a resource of an MCP server, like "
        "`mcp/docs/file:///a.txt`",
    ),
    "rule for no key": (
        rules("tools: [add], keys: [], decision: allow"),
        "main.yaml:17:7: policy.rules[0]: `keys` is empty: name some, or leave it out for any",
    ),
    "rule of no tools": (
        rules("tools: [], decision: deny"),
        "main.yaml:17:7: policy.rules[0]: `tools` is empty: name some, or leave it out for any",
    ),
    "agent's model": (
        agents("model: assistent"),
        "main.yaml:15:14: agents.a.model: no model has this key or identifier; "
        "did you mean `assistant`?",
    ),
    "agent's absent model": (
        agents("model: off"),
        "main.yaml:15:14: agents.a.model: this model is `absent`; an agent needs one that can be "
        "loaded",
    ),
    "agent's preset": (
        agents("model: m, preset: tense"),
        "main.yaml:15:25: agents.a.preset: no preset has this name; did you mean `terse`?",
    ),
    "agent's tool": (
        agents("model: m, tools: [add, disk_use]"),
        "main.yaml:15:30: agents.a.tools[1]: no tool has this name; did you mean `disk_usage`?",
    ),
    "agent's pattern": (
        agents("model: m, tools: [zz*]"),
        "main.yaml:15:25: agents.a.tools[0]: no tool has this name; known here: add, disk_usage",
    ),
    "agent's server": (
        agents("model: m, tools: [mcp/tine/*]"),
        "main.yaml:15:25: agents.a.tools[0]: no MCP server has this name; did you mean `time`?",
    ),
    "a tool as models call it": (
        agents("model: m, tools: [time__now]"),
        "main.yaml:15:25: agents.a.tools[0]: tools of the MCP server `time` are written "
        "`mcp/time/…` here",
    ),
    "a tool that is not offered": (
        agents("model: m, tools: [mcp/time/nox]"),
        "main.yaml:15:25: agents.a.tools[0]: `mcp_servers.time` does not offer this tool; "
        "did you mean `now`?",
    ),
    "a tool that is offered and taken back": (
        agents("model: m, tools: [mcp/time/get_secret]"),
        "main.yaml:15:25: agents.a.tools[0]: `mcp_servers.time` does not offer this tool",
    ),
    "a server that offers nothing": (
        agents("model: m, tools: ['mcp/mute/*']"),
        "main.yaml:15:25: agents.a.tools[0]: `mcp_servers.mute` offers no tool; name some in its "
        "`tools.allow`",
    ),
    "agent called like a key": (
        BASE + "agents:\n  m: {model: m}\n",
        "main.yaml:15:6: agents.m: model `m` is called so, too; choose another name",
    ),
    "agent called like an identifier": (
        BASE + "agents:\n  assistant: {model: m}\n",
        "main.yaml:15:14: agents.assistant: model `m` is called so, too",
    ),
    "tool called like a server's": (
        tools("time__now", 'python: "tools:now"'),
        "main.yaml:8:14: tools.time__now: is how models call a tool of the MCP server `time`; "
        "choose a name that does not begin with `time__`",
    ),
    "sampling model": (
        servers("sampling: {model: n}"),
        "main.yaml:14:39: mcp_servers.x.sampling.model: no model has this key or identifier; "
        "known here: m, off, assistant",
    ),
    "absent sampling model": (
        servers("sampling: {model: off}"),
        "main.yaml:14:39: mcp_servers.x.sampling.model: this model is `absent`; sampling needs one",
    ),
    "a decision for a tool that is not offered": (
        servers("tools: {allow: [delete], policy: {delte: deny}}"),
        "main.yaml:14:62: mcp_servers.x.tools.policy.delte: `mcp_servers.x` does not offer this "
        "tool; did you mean `delete`?",
    ),
    "effects of a tool that is not offered": (
        servers("tools: {effects: {look: []}}"),
        "main.yaml:14:45: mcp_servers.x.tools.effects.look: `mcp_servers.x` does not offer this "
        "tool; name it in its `tools.allow`",
    ),
    "an idempotent tool that is not offered": (
        servers("tools: {allow: [put], idempotent: [put, get]}"),
        "main.yaml:14:61: mcp_servers.x.tools.idempotent[1]: `mcp_servers.x` does not offer",
    ),
    "placeholder of a command": (
        tools("t", 'command: [ls, "-l{pat}"], parameters: {path: {}}, optional: [path]'),
        "main.yaml:8:21: tools.t.command[1]: a placeholder names no parameter; "
        "did you mean `path`?\n"
        "main.yaml:8:52: tools.t.parameters.path: goes nowhere: no `{path}` stands in `command`; "
        "use it, or leave it out",
    ),
    "placeholder without parameters": (
        tools("t", 'command: [ls, "{{{x}"]'),
        "main.yaml:8:21: tools.t.command[1]: a placeholder names no parameter; there are no "
        "`parameters`",
    ),
    "placeholder in a URL": (
        tools("t", 'http: {url: "https://e.com/{a}?b={b}"}, parameters: {a: {}}'),
        "main.yaml:8:19: tools.t.http.url: a placeholder names no parameter; known here: a",
    ),
    "placeholder in a header": (
        tools("t", 'http: {url: "https://e.com", headers: {x-a: "{a}"}}'),
        "main.yaml:8:51: tools.t.http.headers.x-a: a placeholder names no parameter",
    ),
    "placeholder in a body": (
        tools("t", 'http: {method: POST, url: "https://e.com", body: {q: [1, "{a}"]}}'),
        "main.yaml:8:64: tools.t.http.body.q[1]: a placeholder names no parameter",
    ),
    "parameter of a request that goes nowhere": (
        tools("t", 'http: {url: "https://e.com", result: "{a}"}, parameters: {a: {}}'),
        "main.yaml:8:68: tools.t.parameters.a: goes nowhere: no `{a}` stands in `http`; "
        "use it, or leave it out",
    ),
    "rule about no tool": (
        rules("tools: [ad], decision: deny"),
        "main.yaml:17:16: policy.rules[0].tools[0]: no tool has this name; did you mean `add`?",
    ),
    "rule about no server": (
        rules("tools: [mcp/x/*], decision: deny"),
        "main.yaml:17:16: policy.rules[0].tools[0]: no MCP server has this name; "
        "known here: time, docs, mute",
    ),
    "rule about no key": (
        rules("keys: [cd], decision: deny"),
        "main.yaml:17:15: policy.rules[0].keys[0]: no API key has this name; known here: ci",
    ),
    "rule about no model": (
        rules("models: [m, assistent], decision: deny"),
        "main.yaml:17:20: policy.rules[0].models[1]: no model has this key or identifier; "
        "did you mean `assistant`?",
    ),
    "rule about no agent": (
        rules("agents: [b], decision: deny"),
        "main.yaml:17:17: policy.rules[0].agents[0]: no agent has this name; known here: a",
    ),
    "rule about no argument": (
        rules("tools: [disk_usage], arguments: {pth: x}, decision: deny"),
        "main.yaml:17:46: policy.rules[0].arguments.pth: no parameter of these tools is called so; "
        "did you mean `path`?",
    ),
    "pattern that another library reads otherwise": (
        rules("tools: [disk_usage], arguments: {path: '/home/{id}'}, decision: deny"),
        "main.yaml:17:47: policy.rules[0].arguments.path: a `{` that begins no repetition like "
        "`{2,3}` is written `\\{` here",
    ),
    "secret header": (
        BASE + '  x: {url: "https://e.com", headers: {X-Api-Key: abc}}\n',
        f"main.yaml:14:50: mcp_servers.x.headers.X-Api-Key: {LITERAL}write a reference, "
        "${env:NAME} or ${file:path}",
    ),
    "secret header in whose text there is more": (
        BASE + '  x: {url: "https://e.com", headers: {authorization: "Bearer $${abc}"}}\n',
        f"main.yaml:14:54: mcp_servers.x.headers.authorization: {LITERAL}",
    ),
    "secret variable": (
        servers("env: {GITHUB_TOKEN: ghp_123}"),
        f"main.yaml:14:41: mcp_servers.x.env.GITHUB_TOKEN: {LITERAL}",
    ),
    "secret header of a tool": (
        tools("t", 'http: {url: "https://e.com", headers: {Authorization: Basic eDp5}}'),
        f"main.yaml:8:61: tools.t.http.headers.Authorization: {LITERAL}",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_a_contradiction_has_its_place_and_what_would_be_right(text: str, expected: str) -> None:
    shown = show(find_problems(text, ENVIRONMENT)).splitlines()
    lines = expected.splitlines()
    assert len(shown) == len(lines), shown
    for line, begin in zip(shown, lines, strict=True):
        assert line.startswith(begin)


def test_without_any_of_a_kind_the_message_says_so() -> None:
    text = (
        "version: 1\n"
        "agents: {a: {model: m, preset: p, tools: [t, mcp/s/*]}}\n"
        "policy: {rules: [{keys: [k], decision: ask}]}\n"
    )
    assert [problem.message for problem in find_problems(text)] == [
        "no model has this key or identifier; this profile has no `models`",
        "no preset has this name; this profile has no `presets`",
        "no tool has this name; this profile has no `tools`",
        "no MCP server has this name; this profile has no `mcp_servers`",
        "no API key has this name; this profile has none",
    ]


RIGHT = {
    "a prompt and context for an agent": presets(
        "mcp_prompt: mcp/docs/review, arguments: {language: de}, system_prompt: Be brief.",
        agent="preset: p, context: ['mcp/docs/note://a', 'mcp/docs/file:///a%20b.txt']",
    ),
    "a prompt without blanks for an agent": agents("model: m, preset: mcp/docs/write a review"),
    "everything": agents(
        "model: assistant, preset: terse, tools: [add, 'disk*', '*', mcp/time/now, mcp/time/get_x, "
        "'mcp/*/x', mcp/docs/read_resource, 'mcp/docs/*']"
    ),
    "a rule about all": rules("decision: deny"),
    "a rule about a tool that is not offered": rules("tools: [mcp/time/set], decision: deny"),
    "a rule about all there is": rules(
        "tools: [add], keys: [ci], models: [m, assistant, off], agents: [a], decision: allow"
    ),
    "arguments of what is not known here": rules(
        "tools: [add, disk_usage], arguments: {a: '1{2}'}, decision: allow"
    ),
    "an argument inside another": rules(
        "tools: [disk_usage], arguments: {path.x: '1'}, decision: allow"
    ),
    "a name that only looks like a server's": tools("times__now", 'python: "tools:now"'),
    "braces": tools("t", 'command: [awk, "{{print}}", "{a}"], parameters: {a: {}}'),
    "a secret with braces in it": tools(
        "t", 'http: {url: "https://e.com", headers: {x: "Bearer ${env:K}"}}'
    ),
    "secrets by reference": servers('env: {API_KEY: "${env:K}", TOKEN: "x-${env:U:-1}"}'),
    "a header that is an argument": tools(
        "t",
        'http: {url: "https://e.com", headers: {X-Key: "{key}"}}, parameters: {key: {}}',
    ),
    "names that keep no secret": servers(
        "env: {MAX_TOKENS: '4096', TOKENIZERS_PARALLELISM: 'false', KEY_FILE: k.pem, TOKEN: '', "
        "LANG: C}"
    ),
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT)
def test_what_fits_together_is_no_contradiction(text: str) -> None:
    assert show(find_problems(text, ENVIRONMENT)) == ""


def test_no_message_holds_a_secret_that_looks_like_a_placeholder() -> None:
    text = tools("t", 'http: {url: "https://e.com", headers: {x: "Bearer ${env:T}"}}')
    (problem,) = find_problems(text, ENVIRONMENT)
    assert problem.message == "a placeholder names no parameter; there are no `parameters`"


def test_the_tree_of_a_later_file_counts() -> None:
    files = {"base.yaml": 'mcp_servers: {x: {command: [x], env: {API_KEY: "abc"}}}\n'}
    above = "version: 1\ninclude: [base.yaml]\n"
    (problem,) = find_problems(above, files=files)
    assert (problem.file, problem.line, problem.column) == ("/profiles/base.yaml", 1, 48)
    fixed = above + 'mcp_servers: {x: {env: {API_KEY: "${env:K}"}}}\n'
    assert find_problems(fixed, ENVIRONMENT, files) == ()


@pytest.mark.parametrize(
    "section",
    [
        "tools: 1",
        "tools: {t: 1}",
        "tools: {t: {command: 1, parameters: 1}}",
        "tools: {t: {http: {headers: 1, body: {a: [{}]}}, parameters: [1]}}",
        "mcp_servers: [1]",
        "mcp_servers: {s: {tools: 1, env: [1], headers: 1, sampling: 1}}",
        "mcp_servers: {s: {tools: {allow: 1, policy: 1, idempotent: {}, effects: [1]}}}",
        "agents: {a: 1}",
        "agents: {a: {tools: 1, model: 1, preset: 1}}",
        "agents: {a: {model: m, tools: [1, 'a/b', mcp/x, mcp//, 'x y']}}",
        "policy: 1",
        "policy: {rules: 1}",
        "policy: {rules: [1, {tools: 1, arguments: 1, keys: 1}, {arguments: {a: 1, b: '('}}]}",
    ],
)
def test_what_is_wrong_otherwise_is_passed_over(section: str) -> None:
    assert find_problems(f"version: 1\n{section}\n")


SECTIONS = ("tools", "mcp_servers", "agents", "policy", "models", "presets", "server")
FIELDS = (
    *("command", "http", "python", "url", "headers", "env", "body", "parameters", "optional"),
    *(
        "tools",
        "allow",
        "deny",
        "policy",
        "effects",
        "idempotent",
        "resources",
        "sampling",
        "model",
    ),
    *("preset", "rules", "arguments", "keys", "models", "agents", "decision", "api_keys", "name"),
    *("a", "b", "mcp__x", "API_KEY", "identifier", "state", "instances"),
)
TEXTS = st.sampled_from(
    [
        "a",
        "*",
        "mcp/a/*",
        "mcp/a/b",
        "a__b",
        "{a}",
        "{{a}}",
        "$${a}",
        "(",
        "{e}",
        "deny",
        "allow",
        "",
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(SECTIONS), ANYTHING, max_size=4))
def test_whatever_stands_there_is_valid_or_has_problems_with_places(
    sections: dict[str, Any],
) -> None:
    for problem in find_problems(json.dumps({"version": 1, **sections})):
        assert problem.line == 1
        assert problem.column > 0
