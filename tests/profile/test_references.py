"""`${env:…}` and `${file:…}`: what they become and what is wrong with bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.errors import ProfileInvalid
from lmrun.profile.loader import load_profile
from lmrun.profile.text.files import MAX_REFERENCED_BYTES
from tests.profile.support import FOLDER, find_problems, load, show

V = "version: 1\n"
ENVIRONMENT = {"NAME": "qwen", "PORT": "8080", "EMPTY": "", "TRUE": "true", "BRACE": "a: [1"}


@pytest.mark.parametrize(
    ("written", "prompt"),
    [
        ("'${env:NAME}'", "qwen"),
        ("a ${env:NAME}/${env:PORT} b", "a qwen/8080 b"),
        ("'${env:PORT}'", "8080"),
        ("'${env:NONE:-fall back}'", "fall back"),
        ("'${env:NONE:-}'", ""),
        ("'${env:EMPTY:-fall back}'", "fall back"),
        ("'${env:EMPTY}'", ""),
        ("'${env:NAME:-fall back}'", "qwen"),
        ("'${env:NONE:-a:-b}'", "a:-b"),
        ("$${env:NAME}", "${env:NAME}"),
        ("'$${ and ${env:NAME}'", "${ and qwen"),
        ("costs $5 {} $x", "costs $5 {} $x"),
        ("'${env:BRACE}'", "a: [1"),
        ("${env:BRACE}", "a: [1"),
        ("'${file:prompt.txt}'", "Be brief.\nAlways."),
        ("'<${file:prompt.txt}>'", "<Be brief.\nAlways.>"),
        ("|\n    ${env:NAME}", "qwen\n"),
    ],
)
def test_references_in_texts_are_replaced(written: str, prompt: str) -> None:
    text = V + f"presets:\n  p:\n   system_prompt: {written}\n"
    loaded = load(text, ENVIRONMENT, {"prompt.txt": "Be brief.\nAlways.\n"})
    assert loaded.profile.presets["p"].system_prompt == prompt


def test_an_unquoted_reference_is_read_as_its_text_would_be() -> None:
    profile = load(
        V + "server:\n  port: ${env:PORT}\n  cors: ${env:C:-false}\n"
        "models:\n  m:\n    source: file:m\n    identifier: ${env:NONE:-}\n"
        "    load:\n      flash_attention: ${env:TRUE}\n      rope_frequency_base: ${file:n}\n",
        ENVIRONMENT,
        {"n": "1e4\n"},
    ).profile
    assert profile.server.port == 8080
    assert profile.server.cors is False
    assert profile.models["m"].identifier is None
    assert profile.models["m"].load.flash_attention is True
    assert profile.models["m"].load.rope_frequency_base == 10_000.0


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("'${env:PORT}'", "3:9: server.port: must be a whole number, not text; remove the quotes"),
        ("${env:NAME}", "3:9: server.port: must be a whole number, not text"),
        ("1${env:PORT}", "3:9: server.port: must be a whole number, not text"),
        ("${env:NONE}", "3:9: server.port: the environment variable NONE is not set; set it, or"),
        ("${env:}", "3:9: server.port: a reference is ${env:NAME}, ${env:NAME:-default} or"),
        ("${env:1A}", "3:9: server.port: a reference is ${env:NAME}"),
        ("${file:}", "3:9: server.port: a reference is ${env:NAME}"),
        ("${cmd:date}", "3:9: server.port: a reference is ${env:NAME}"),
        ("${PORT}", "3:9: server.port: a reference is ${env:NAME}"),
        ("${env:PORT", "3:9: server.port: a `${` is never closed"),
        ("${file:none}", "3:9: server.port: /profiles/none: no such file"),
        ("${file:large}", "3:9: server.port: /profiles/large: is larger than 64 kB"),
        (
            "${file:binary}",
            "3:9: server.port: the file /profiles/binary holds the character U+0000",
        ),
        ("${env:BAD}", "3:9: server.port: the environment variable BAD holds the character U+DCFF"),
        ("${env:LONG}", "3:9: server.port: a number may have at most 64 characters"),
    ],
)
def test_a_reference_that_does_not_work_is_one_problem(written: str, expected: str) -> None:
    problems = find_problems(
        V + f"server:\n  port: {written}\n",
        ENVIRONMENT | {"BAD": "\udcff", "LONG": "9" * 100},
        {"large": "x" * (MAX_REFERENCED_BYTES + 1), "binary": "\0"},
    )
    assert len(problems) == 1, show(problems)
    assert show(problems).startswith(f"main.yaml:{expected}")


def test_a_number_where_text_belongs_asks_for_quotes() -> None:
    (problem,) = find_problems(V + "presets: {p: {system_prompt: 1}}\n")
    assert problem.message.endswith("put it in quotes")
    text = V + "presets:\n  p:\n    system_prompt: ${env:PORT}\n"
    (problem,) = find_problems(text, ENVIRONMENT)
    assert problem.message == "must be text, not a number; put it in quotes"


def test_a_file_reference_is_relative_to_the_file_that_holds_it() -> None:
    loaded = load(
        V + "include: [sub/base.yaml]\n",
        files={
            "sub/base.yaml": "presets: {p: {system_prompt: '${file:prompt.txt}'}}\n",
            "sub/prompt.txt": "deep",
        },
    )
    assert loaded.profile.presets["p"].system_prompt == "deep"
    assert loaded.texts[-1].path == FOLDER / "sub/prompt.txt"


def test_references_in_keys_and_comments_are_left_alone() -> None:
    problems = find_problems(V + "# ${env:NONE}\npresets: {'${env:NONE}': {}}\n")
    assert [problem.path for problem in problems] == ['presets["${env:NONE}"]']


def test_the_names_of_all_variables_are_reported() -> None:
    loaded = load(
        V
        + "server: {host: '${env:HOST:-::1}', port: 1}\nallowed: 1\n".replace("allowed: 1\n", "")
        + "presets: {p: {system_prompt: '${env:NAME}-${env:PORT} $${env:NOT}'}}\n",
        ENVIRONMENT,
    )
    assert loaded.environment == {"HOST", "NAME", "PORT"}


def test_an_overridden_reference_is_not_resolved() -> None:
    loaded = load(
        V + "include: [base.yaml]\nserver: {port: 1}\n",
        files={"base.yaml": "server: {port: '${env:NONE}'}\n"},
    )
    assert loaded.profile.server.port == 1
    assert loaded.environment == frozenset()


def test_a_secret_comes_from_a_variable_or_a_file_of_its_owner(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("from-the-file\n")
    key.chmod(0o600)
    profile = tmp_path / "p.yaml"
    profile.write_text(
        V + "server:\n  api_keys:\n    - {name: a, key: '${env:K}'}\n"
        "    - name: b\n      key: ${file:key}\n    - name: c\n      key: ${env:N}\n"
    )
    loaded = load_profile(profile, {"K": "from-the-env", "N": "12345"})
    keys = [key.key for key in loaded.profile.server.api_keys]
    values = ["from-the-env", "from-the-file", "12345"]
    assert all(key.matches(value) for key, value in zip(keys, values, strict=True))
    assert [source.path for source in loaded.texts] == [profile]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_secret_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    key = tmp_path / "key"
    key.write_text("value")
    key.chmod(mode)
    profile = tmp_path / "p.yaml"
    profile.write_text(V + "server: {api_keys: [{name: a, key: '${file:key}'}]}\n")
    with pytest.raises(ProfileInvalid, match=r"others may read .* chmod 600"):
        load_profile(profile, {})
