"""However a profile's text is mutated, it loads or is ProfileInvalid; never another error."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.errors import ProfileInvalid
from lmrun.profile.environment import referenced_environment
from lmrun.profile.loader import load_profile
from tests.profile.support import ROOT, Texts

SEED = (
    (Path(__file__).parents[2] / "profiles" / "quickstart.yaml").read_text()
    + """\
include: [base.yaml]
"""
)
BASE = """\
server:
  cors: [https://a.example]
  api_keys: [{name: ci, key: "${env:KEY}", scopes: [inference]}]
  limits: {queue: 64, body: 32MiB}
models: &models
  other: {source: file:./m.gguf, load: {gpu: {ratio: off}, threads: 2}, identifier: "${env:ID:-x}"}
checks:
  c:
    model: other
    messages: [{role: user, content: Hi}, {role: tool, tool_call_id: "1"}]
    tools: {t: {parameters: {type: object, properties: {a: {pattern: "^x"}}}}}
    expect: {regex: "(a|b)+", json_schema: {items: {$ref: "#"}}, golden: g.json, max_ttft: 2s,
      tool_call: {name: t, arguments: {a: x}}, contains: [a, b]}
presets: {p: {prediction: {logit_bias: {"7": -1.5}, stop_strings: ["\\n"], seed: 0x10}}}
"""
PIECES = st.one_of(
    st.sampled_from(
        [
            "\t", "\n", "  ", ": ", "- ", "? ", "&a ", "*a", "!!str ", "<<: ", "{", "}", "[", "]",
            "'", '"', "|", ">", "---\n", "...\n", "%YAML 1.2\n", "#", "\0", "\ufeff", "\u2028", "~",
            "${env:KEY}", "${file:base.yaml}", "${", "$${", "${env:ID:-}", ".nan", "1e999", "0x",
            "true", "9" * 70, "-1", "1.5", "*", "@", "`", "\ud800", "version: 1\n", "[]", "{}",
            "[" * 60, "\\x00",
        ]
    ),
    st.text(max_size=5),
)  # fmt: skip
EDIT = st.tuples(st.floats(0, 1), st.integers(0, 30), PIECES)


def mutate(text: str, edits: list[tuple[float, int, str]]) -> str:
    """Each edit replaces some characters at a relative place by a piece."""
    for place, removed, piece in edits:
        start = int(place * len(text))
        text = text[:start] + piece + text[start + removed :]
    return text


def load_or_refuse(main: str, base: str) -> None:
    """Loads; a refusal must have problems with sensible places. Anything else propagates."""
    texts = Texts({"main.yaml": main, "base.yaml": base})
    referenced_environment(ROOT, texts)
    try:
        load_profile(ROOT, {"KEY": "k" * 40, "ID": "x"}, texts)
    except ProfileInvalid as error:
        assert error.problems
        for problem in error.problems:
            assert problem.line >= 0
            assert problem.column >= (1 if problem.line else 0)
            assert "\n" not in str(problem)
            assert "pydantic" not in problem.message


def test_the_seeds_themselves_are_valid() -> None:
    texts = Texts({"main.yaml": SEED, "base.yaml": BASE})
    assert set(load_profile(ROOT, {"KEY": "k"}, texts).profile.models) == {
        "smollm2-135m-instruct",
        "other",
    }


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(main=st.lists(EDIT, max_size=4), base=st.lists(EDIT, max_size=4))
def test_a_mutated_profile_loads_or_is_refused_in_words(
    main: list[tuple[float, int, str]], base: list[tuple[float, int, str]]
) -> None:
    load_or_refuse(mutate(SEED, main), mutate(BASE, base))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(text=st.text(max_size=200))
def test_any_text_loads_or_is_refused_in_words(text: str) -> None:
    load_or_refuse(text, text)


SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["${env:KEY}", "loaded", "file:m", "p", "other", "*", "1MiB"]),
)  # fmt: skip
KEY = st.sampled_from(
    ["version", "include", "server", "models", "presets", "tools", "api_keys", "name", "key",
     "cors", "host", "port", "limits", "body", "source", "load", "gpu", "ratio", "preset",
     "identifier", "prediction", "logit_bias", "stop_strings", "scopes", "x y"]
)  # fmt: skip
TREE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(KEY, inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


def write(tree: object) -> str:
    """The tree as flow YAML."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {write(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(write(item) for item in tree) + "]"
    if isinstance(tree, str):
        return "'" + tree.replace("'", "''") + "'"
    return {None: "null", True: "true", False: "false"}.get(tree, str(tree))  # type: ignore[call-overload, no-any-return]  # keys of three types


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(sections=st.fixed_dictionaries(dict.fromkeys(("server", "models", "presets"), TREE)))
def test_any_tree_under_the_known_sections_loads_or_is_refused_in_words(
    sections: dict[str, object],
) -> None:
    main = "version: 1\n" + "".join(f"{name}: {write(tree)}\n" for name, tree in sections.items())
    load_or_refuse(main, BASE)
