"""Includes: what wins, what is refused, and that positions follow the value to its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.profile.loader import load_profile
from lmrun.profile.text.overlay import MAX_FILES
from tests.profile.support import FOLDER, ROOT, Texts, find_problems, load, show

V = "version: 1\n"


def test_the_including_file_wins_over_its_includes_and_later_ones_over_earlier() -> None:
    profile = load(
        V + "include: [one.yaml, two.yaml]\nserver: {port: 3}\n",
        files={
            "one.yaml": "server: {port: 1, limits: {queue: 1}, host: localhost}\n",
            "two.yaml": "server: {port: 2, limits: {queue: 2}}\n",
        },
    ).profile
    assert (profile.server.port, profile.server.limits.queue) == (3, 2)
    assert profile.server.host == "localhost"


def test_mappings_merge_deep_and_lists_replace() -> None:
    profile = load(
        V + "include: [base.yaml]\n"
        "presets: {p: {prediction: {stop_strings: [c], top_k: 1}}}\nmodels: {m: {preset: p}}\n",
        files={
            "base.yaml": "models: {m: {source: file:m}, n: {source: file:n}}\n"
            "presets: {p: {system_prompt: hi, prediction: {stop_strings: [a, b], top_p: 0.5}}}\n"
        },
    ).profile
    prediction = profile.presets["p"].prediction
    assert profile.presets["p"].system_prompt == "hi"
    assert prediction.stop_strings == ("c",)
    assert (prediction.top_k, prediction.top_p) == (1, 0.5)
    assert prediction.model_fields_set == {"stop_strings", "top_k", "top_p"}
    assert set(profile.models) == {"m", "n"}


def test_an_include_may_include_relative_to_itself() -> None:
    loaded = load(
        V + "include: [sub/one.yaml]\n",
        files={
            "sub/one.yaml": "include: [deep/two.yaml, ../three.yaml]\n",
            "sub/deep/two.yaml": "models: {two: {source: 'file:m'}}\n",
            "three.yaml": "models: {three: {source: 'file:m'}}\n",
        },
    )
    assert loaded.base_dirs == {"two": FOLDER / "sub/deep", "three": FOLDER}
    names = [str(source.path.relative_to(FOLDER)) for source in loaded.texts]
    assert names == ["main.yaml", "sub/one.yaml", "sub/deep/two.yaml", "three.yaml"]


def test_a_source_is_relative_to_the_file_that_set_it() -> None:
    loaded = load(
        V + "include: [sub/base.yaml]\nmodels: {a: {state: absent}, b: {source: file:here}}\n",
        files={"sub/base.yaml": "models: {a: {source: file:a}, b: {source: file:b}}\n"},
    )
    assert loaded.base_dirs == {"a": FOLDER / "sub", "b": FOLDER}


def test_a_file_included_twice_is_read_once() -> None:
    texts = Texts(
        {
            "main.yaml": V + "include: [a.yaml, b.yaml]\n",
            "a.yaml": "include: [base.yaml]\n",
            "b.yaml": "include: [base.yaml]\n",
            "base.yaml": "server: {port: 5}\n",
        }
    )
    assert load_profile(ROOT, {}, texts).profile.server.port == 5
    assert len(texts.read) == len(set(texts.read)) == 4


def test_includes_that_branch_at_every_level_stay_cheap() -> None:
    files = {f"f{n}.yaml": f"include: [f{n + 1}.yaml, f{n + 1}.yaml]\n" for n in range(18)}
    files["f18.yaml"] = "server: {port: 5}\n"
    assert load(V + "include: [f0.yaml]\n", files=files).profile.server.port == 5


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        (
            "include: [base.yaml]\n",
            {"base.yaml": "\n\nserver: {port: no}\n"},
            "base.yaml:3:16: server.port: must be a whole number, not text",
        ),
        (
            "include: [base.yaml]\n",
            {"base.yaml": "models:\n  m: {state: loaded}\n"},
            "base.yaml:2:6: models.m.source: is required",
        ),
        (
            "include: [base.yaml]\nserver: {port: no}\n",
            {"base.yaml": "server: {port: 1}\n"},
            "main.yaml:3:16: server.port: must be a whole number",
        ),
        (
            "include: [base.yaml]\n",
            {"base.yaml": "foo: 1\n"},
            "base.yaml:1:1: foo: unknown key",
        ),
        (
            "include: [base.yaml]\n",
            {"base.yaml": "version: 2\n"},
            "base.yaml:1:10: version: must be 1, as in the including file",
        ),
        (
            "include: [base.yaml]\n",
            {"base.yaml": "a: 1\na: 2\n"},
            "base.yaml:2:1: the key `a` is already on line 1",
        ),
        ("include: [base.yaml]\n", {"base.yaml": ""}, "base.yaml:1:1: the file is empty"),
        (
            "include:\n  - none.yaml\n",
            {},
            "main.yaml:3:5: include: /profiles/none.yaml: no such file",
        ),
        (
            "include: [base.yaml]\n",
            {"base.yaml": "include: [sub/none.yaml]\n"},
            "base.yaml:1:11: include: /profiles/sub/none.yaml: no such file",
        ),
        (
            "include: [main.yaml]\n",
            {},
            "main.yaml:2:11: include: this file includes itself: main.yaml → main.yaml",
        ),
        (
            "include: [a.yaml]\n",
            {"a.yaml": "include: [b.yaml]\n", "b.yaml": "include: [./x/../main.yaml]\n"},
            "b.yaml:1:11: include: this file includes itself: "
            "main.yaml → a.yaml → b.yaml → main.yaml",
        ),
        (
            "include: ['${env:SITE}.yaml']\n",
            {},
            "main.yaml:2:11: include: references are not allowed",
        ),
        ("include: ['']\n", {}, "main.yaml:2:11: include: must be the name of a file"),
        ('include: ["a\\nb"]\n', {}, "main.yaml:2:11: include: must be the name of a file"),
        ("include: [[a]]\n", {}, "main.yaml:2:11: include: must be the name of a file"),
        ("include:\n", {}, "main.yaml:2:9: include: must be a list of files"),
    ],
)
def test_what_is_wrong_with_an_include_is_reported_in_the_file_where_it_stands(
    text: str, files: dict[str, str], expected: str
) -> None:
    problems = find_problems(V + text, files=files)
    assert len(problems) == 1, show(problems)
    assert show(problems).startswith(expected)


def test_more_files_than_allowed_are_refused_with_the_chain_that_led_there() -> None:
    files = {f"f{n}.yaml": f"include: [f{n + 1}.yaml]\n" for n in range(MAX_FILES + 5)}
    (problem,) = find_problems(V + "include: [f0.yaml]\n", files=files)
    assert problem.file == str(FOLDER / f"f{MAX_FILES - 2}.yaml")
    assert problem.message.startswith(f"more than {MAX_FILES} files: main.yaml → f0.yaml → ")
    assert problem.message.endswith(f"f{MAX_FILES - 2}.yaml → f{MAX_FILES - 1}.yaml")


def test_the_yaml_of_all_files_is_judged_together_root_first() -> None:
    problems = find_problems(
        V + "include: [b.yaml, a.yaml]\nx: !tag 1\n", files={"a.yaml": "a: [", "b.yaml": "1: 2\n"}
    )
    assert [Path(problem.file).name for problem in problems] == ["main.yaml", "b.yaml", "a.yaml"]


def test_a_missing_include_does_not_make_its_models_look_wrong() -> None:
    text = V + "include: [gone.yaml]\nmodels: {m: {preset: p}}\nserver: {port: no}\n"
    assert [problem.path for problem in find_problems(text)] == ["include", "server.port"]


def test_the_version_of_an_include_does_not_count_for_the_root() -> None:
    (problem,) = find_problems("include: [base.yaml]\n", files={"base.yaml": V})
    assert show((problem,)).startswith("main.yaml:1:1: version: is required")
