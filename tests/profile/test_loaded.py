"""What a profile that is right becomes, and from where the loader reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.errors import ProfileInvalid
from lmrun.profile.environment import referenced_environment
from lmrun.profile.loader import load_profile
from tests.profile.support import FOLDER, ROOT, Texts, find_problems, load

V = "version: 1\n"
LONG = "k" * 32


def test_the_smallest_profile_has_only_defaults() -> None:
    loaded = load(V)
    assert loaded.profile.server.host == "127.0.0.1"
    assert loaded.profile.server.port == 1234
    assert loaded.profile.models == {}
    assert loaded.root == ROOT
    assert loaded.base_dirs == {}
    assert [source.text for source in loaded.texts] == [V]


def test_a_full_profile_becomes_typed_values() -> None:
    profile = load(
        V + "server:\n"
        "  host: '::1'\n"
        "  cors: [https://a.example]\n"
        "  limits: {body: 1.5kB}\n"
        "  api_keys: [{name: ci, key: '${env:KEY}'}]\n"
        "models:\n"
        "  org/m@q4:\n"
        "    source: file:m.gguf\n"
        "    load: {context_length: 0x1000, gpu: {ratio: off}, rope_frequency_scale: 1}\n"
        "    preset: p\n"
        "presets: {p: {prediction: {logit_bias: {'7': -100}, stop_strings: [no, on]}}}\n",
        {"KEY": "secret"},
    ).profile
    model = profile.models["org/m@q4"]
    assert model.load.context_length == 4096
    assert model.load.gpu is not None
    assert model.load.gpu.ratio == "off"
    assert profile.presets["p"].prediction.logit_bias == {7: -100}
    assert profile.presets["p"].prediction.stop_strings == ("no", "on")
    assert profile.server.limits.body == 1500
    assert profile.server.cors == ("https://a.example",)
    assert profile.server.api_keys[0].key.matches("secret")


def test_loopback_may_have_a_short_key_and_other_addresses_a_long_one() -> None:
    keys = "api_keys: [{name: a, key: '${env:K}'}]"
    assert find_problems(V + f"server: {{host: localhost, {keys}}}\n", {"K": "short"}) == ()
    assert find_problems(V + f"server: {{host: 0.0.0.0, {keys}}}\n", {"K": LONG}) == ()


def test_the_profile_is_read_from_the_disk_by_default(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(V + "include: [sub/base.yaml]\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.yaml").write_text("models: {m: {source: file:m.gguf}}\n")
    loaded = load_profile(file, {})
    assert [source.path for source in loaded.texts] == [file, tmp_path / "sub" / "base.yaml"]
    assert loaded.base_dirs == {"m": tmp_path / "sub"}


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.yaml").write_text(V)
    monkeypatch.chdir(tmp_path)
    assert load_profile(Path("p.yaml"), {}).root == tmp_path / "p.yaml"


def test_a_profile_that_cannot_be_read_is_a_problem_of_the_whole_file(tmp_path: Path) -> None:
    with pytest.raises(ProfileInvalid) as caught:
        load_profile(tmp_path / "none.yaml", {})
    assert str(caught.value) == f"{tmp_path}/none.yaml: no such file"


def test_the_stored_texts_restore_a_profile_without_its_files() -> None:
    files = {
        "main.yaml": V + "include: [b.yaml]\npresets: {p: {system_prompt: '${file:p.txt}'}}\n",
        "b.yaml": "models: {m: {source: file:m}}\n",
        "p.txt": "Be brief.\n",
    }
    first = load_profile(ROOT, {}, Texts(files))
    stored = {source.path: source.text for source in first.texts}
    again = load_profile(ROOT, {}, lambda path: stored[path])
    assert again == first
    assert list(stored) == [FOLDER / name for name in files]


def test_the_referenced_variables_are_found_without_their_values() -> None:
    texts = Texts(
        {
            "main.yaml": V + "include: [b.yaml, gone.yaml]\nserver: {port: '${env:PORT}', x: 1}\n"
            "presets: {p: {system_prompt: 'a ${env:A:-x} $${env:NOT} ${env:}'}}\n",
            "b.yaml": "models: {m: {source: 'file:${env:DIR}/${env:NAME}'}}\n",
        }
    )
    assert referenced_environment(ROOT, texts) == {"PORT", "DIR", "NAME"}


@pytest.mark.parametrize("text", ["a: [", "", "- ${env:A}", "\0", "a: ${env:", "[" * 5000])
def test_looking_for_variables_never_fails(text: str) -> None:
    assert referenced_environment(ROOT, Texts({"main.yaml": text})) == frozenset()


def test_looking_for_variables_in_a_missing_file_finds_none() -> None:
    assert referenced_environment(ROOT, Texts({})) == frozenset()
