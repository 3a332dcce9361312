"""What the fields of a profile say of each other: references that lead nowhere, settings that
exclude one another."""

from __future__ import annotations

import pytest

from tests.profile.support import find_problems, load, show

V = "version: 1\n"
M = V + "models:\n  m:\n    source: file:m.gguf\n"
TERSE = "presets: {terse: {}}\n"

CONTRADICTING = {
    "unknown preset": (
        M + "    preset: ters\npresets: {terse: {}}\n",
        "main.yaml:5:13: models.m.preset: no preset has this name; did you mean `terse`?",
    ),
    "unknown preset to prewarm": (
        M + "    prewarm: [terse, ters]\npresets: {terse: {}}\n",
        "main.yaml:5:22: models.m.prewarm[1]: no preset has this name; did you mean `terse`?",
    ),
    "preset without presets": (
        M + "    preset: terse\n",
        "main.yaml:5:13: models.m.preset: no preset has this name; this profile has no `presets`",
    ),
    "two models of one identifier": (
        V + "models:\n  a: {source: file:m, identifier: x}\n  b: {source: file:m, identifier: x}\n",
        "main.yaml:4:35: models.b.identifier: model `a` has this identifier already",
    ),
    "identifier that is another model's key": (
        V + "models:\n  a: {source: file:m}\n  b: {source: file:m, identifier: a}\n",
        "main.yaml:4:35: models.b.identifier: is the key of another model",
    ),
    "pool that holds no sequence": (
        M + "    load: {context_length: 512, kv_tokens: 100}\n",
        "main.yaml:5:44: models.m.load.kv_tokens: must be at least context_length, 512",
    ),
    "pool that is not the sum of separate caches": (
        M + "    load: {context_length: 512, kv_tokens: 1024, unified_kv_cache: false}\n",
        "main.yaml:5:44: models.m.load.kv_tokens: with `unified_kv_cache: false` kv_tokens is",
    ),
    "prewarming what is not kept": (
        M + "    prewarm: [terse]\n    load: {prefix_cache: {ram: 0B}}\n" + TERSE,
        "main.yaml:5:14: models.m.prewarm: fills the prefix cache, whose `ram` is nothing",
    ),
    "keeping nothing": (
        M + "    load: {prefix_cache: {ram: 0MiB, persist: true}}\n",
        "main.yaml:5:47: models.m.load.prefix_cache.persist: keeps what is in `ram`",
    ),
}


@pytest.mark.parametrize(("text", "expected"), CONTRADICTING.values(), ids=CONTRADICTING)
def test_a_contradiction_is_one_problem_with_its_place_and_what_would_be_right(
    text: str, expected: str
) -> None:
    problems = find_problems(text)
    assert len(problems) == 1, show(problems)
    assert show(problems).startswith(expected)


def test_separate_caches_may_say_their_sum() -> None:
    text = "    load: {context_length: 512, kv_tokens: 2048, unified_kv_cache: false}\n"
    assert load(M + text).profile.models["m"].load.kv_tokens == 2048


def test_a_prefix_cache_without_ram_is_fine_when_nothing_is_to_be_in_it() -> None:
    profile = load(M + "    load: {prefix_cache: {ram: 0B}}\n").profile
    assert profile.models["m"].load.prefix_cache.ram == 0


def test_contradictions_are_reported_together_with_wrong_types() -> None:
    text = V + "server: {port: no}\nmodels: {a: {source: file:m, preset: nope}}\n"
    paths = [problem.path for problem in find_problems(text)]
    assert paths == ["server.port", "models.a.preset"]
