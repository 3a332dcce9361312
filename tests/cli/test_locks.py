"""`lmrun lock` and `lmrun verify`, on real files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import msgspec
import pytest

from lmrun import __version__
from lmrun.profile.lock import parse_lock, write_lock
from lmrun.store.generations import Generations
from lmrun.store.home import Home
from tests.cli.conftest import Run
from tests.support.control import FakeServer
from tests.support.tiny_llama import CHATML, write_tiny_llama
from tests.support.wheels import write_wheel

PACKAGED = "package:tiny-models==1.0/tiny_models/m.scripted.json"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A model with an adapter, whose content lmrun does not look into."""
    write_tiny_llama(tmp_path / "m.gguf")
    (tmp_path / "l.gguf").write_bytes(b"adapter")
    file = tmp_path / "p.yaml"
    file.write_text(
        "version: 1\nmodels:\n  m:\n    source: file:./m.gguf\n"
        "    load: {adapters: [{source: file:./l.gguf}]}\n"
    )
    return file


def flip(file: Path, position: int) -> None:
    """One bit, at the same size and time."""
    found = file.stat()
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_lock_has_every_file_with_size_and_hash_the_template_and_all_versions(
    lmrun: Run, profile: Path, tmp_path: Path
) -> None:
    result = lmrun("lock", profile)
    assert result.code == 0, result.err
    where = tmp_path / "p.yaml.lock"
    lock = parse_lock(where.read_bytes(), where)
    model = lock.models["m"]
    assert [(it.role, it.name, it.size, it.sha256) for it in model.files] == [
        (role, name, (tmp_path / name).stat().st_size, digest(tmp_path / name))
        for role, name in (("model", "m.gguf"), ("adapter", "l.gguf"))
    ]
    assert model.chat_template == hashlib.sha256(CHATML.encode()).hexdigest()
    assert lock.lmrun == __version__
    assert {"jinja2", "llama-cpp-python", "pydantic"} <= lock.packages.keys()
    assert "pytest" not in lock.packages
    assert lock.engines == {"llama_cpp": lock.packages["llama-cpp-python"]}
    assert "2 files" in result.out
    first = where.read_bytes()
    lmrun("lock", profile)
    assert where.read_bytes() == first


def test_what_is_as_it_was_locked_is_said_so(lmrun: Run, profile: Path) -> None:
    lmrun("lock", profile)
    result = lmrun("verify", profile)
    assert (result.code, result.out.startswith("All is as ")) == (0, True)


@pytest.mark.parametrize("name", ["m.gguf", "l.gguf"])
def test_a_flipped_byte_names_the_file_and_both_hashes(
    lmrun: Run, profile: Path, tmp_path: Path, name: str
) -> None:
    lmrun("lock", profile)
    assert lmrun("verify", profile).code == 0
    before = digest(tmp_path / name)
    flip(tmp_path / name, -1)
    result = lmrun("verify", profile)
    assert result.code == 1
    expected = f"{tmp_path / name}: has sha256 {digest(tmp_path / name)}, locked is {before}"
    assert expected in result.out


def test_a_file_whose_header_is_damaged_is_named_too(
    lmrun: Run, profile: Path, tmp_path: Path
) -> None:
    lmrun("lock", profile)
    flip(tmp_path / "m.gguf", 0)
    out = lmrun("verify", profile).out
    assert f"{tmp_path / 'm.gguf'}: has sha256" in out
    assert "its chat template has sha256 none" in out


def test_a_file_that_is_gone_is_named(lmrun: Run, profile: Path, tmp_path: Path) -> None:
    lmrun("lock", profile)
    (tmp_path / "l.gguf").unlink()
    result = lmrun("verify", profile)
    assert (result.code, result.out.strip()) == (
        1,
        "! models.m: adapter l.gguf (file:./l.gguf) is not here",
    )


def test_a_file_that_is_missing_cannot_be_locked(lmrun: Run, profile: Path, tmp_path: Path) -> None:
    (tmp_path / "l.gguf").unlink()
    result = lmrun("lock", profile)
    assert result.code == 1
    assert "l.gguf" in result.err
    assert not (tmp_path / "p.yaml.lock").exists()


def test_another_template_and_another_source_are_differences(
    lmrun: Run, profile: Path, tmp_path: Path
) -> None:
    lmrun("lock", profile)
    (tmp_path / "n.gguf").write_bytes((tmp_path / "m.gguf").read_bytes())
    text = profile.read_text().replace("file:./m.gguf", "file:./n.gguf")
    profile.write_text(text + "    prompt_template: {name: chatml}\n")
    differences = json.loads(lmrun("verify", profile, "--json").out)["differences"]
    assert len(differences) == 3
    assert "chat template" in differences[0]
    assert {it.split(" (")[0] for it in differences[1:]} == {
        "models.m: model m.gguf",
        f"models.m: model {tmp_path / 'n.gguf'}",
    }


def test_another_version_of_a_package_is_a_difference(
    lmrun: Run, profile: Path, tmp_path: Path
) -> None:
    lmrun("lock", profile)
    where = tmp_path / "p.yaml.lock"
    lock = parse_lock(where.read_bytes(), where)
    older = msgspec.structs.replace(lock, packages={**lock.packages, "jinja2": "3.0.0"})
    where.write_text(write_lock(older))
    result = lmrun("verify", profile)
    assert result.code == 1
    assert result.out.startswith("! package jinja2: 3.")
    assert "locked is 3.0.0" in result.out


def test_a_file_of_a_package_is_fetched_to_be_locked_and_never_to_be_verified(
    lmrun: Run, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    script = json.dumps({"replies": [{"pieces": ["Hello"]}]}).encode()
    write_wheel(wheels, "tiny-models", "1.0", {"tiny_models/m.scripted.json": script})
    profile = tmp_path / "p.yaml"
    profile.write_text(f"version: 1\nmodels:\n  m: {{source: '{PACKAGED}'}}\n")
    result = lmrun("lock", profile)
    assert result.code == 0, result.err
    where = tmp_path / "p.yaml.lock"
    (locked,) = parse_lock(where.read_bytes(), where).models["m"].files
    assert (locked.revision, locked.sha256) == (
        "tiny-models==1.0",
        hashlib.sha256(script).hexdigest(),
    )
    (stored,) = (home / "models").rglob("m.scripted.json")
    flip(stored, -3)
    assert f"{stored}: has sha256" in lmrun("verify", profile).out
    stored.unlink()
    assert "m.scripted.json (package:tiny-models==1.0" in lmrun("verify", profile).out
    assert not list((home / "models").rglob("m.scripted.json"))


def test_without_a_lock_file_there_is_nothing_to_verify(lmrun: Run, profile: Path) -> None:
    result = lmrun("verify", profile)
    assert result.code == 1
    assert "p.yaml.lock: No such file or directory." in result.err
    assert "`lmrun lock PROFILE` writes it." in result.err


def test_without_a_name_the_profile_applied_last_is_verified(
    lmrun: Run, profile: Path, home: Path
) -> None:
    assert "No profile has been applied" in lmrun("verify").err
    place = Home(home)
    place.ensure()
    generations = Generations(place.database)
    generations.add(str(profile), [(str(profile), profile.read_text())])
    generations.close()
    lmrun("lock", profile)
    assert lmrun("verify").code == 0


def test_an_apply_asks_the_server_to_hold_the_lock(
    server: FakeServer, lmrun: Run, profile: Path
) -> None:
    lmrun("apply", profile, "--locked")
    lmrun("apply", profile)
    assert [body["locked"] for body in server.bodies("/lmrun/v1/apply")] == [True, False]
