"""What a profile means here, to the byte, beyond what `lmrun lock` and `apply --locked` show."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lmrun.errors import LockMismatch
from lmrun.profile.loader import LoadedProfile, load_profile
from lmrun.profile.lock import lock_path
from lmrun.reconcile.pinning import Watched, open_catalog, pin, read_versions, tell_nobody
from lmrun.store.home import Home
from tests.support.profiles import write_script


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    return home


def load(folder: Path, text: str) -> LoadedProfile:
    file = folder / "p.yaml"
    file.write_text(text)
    return load_profile(file, {})


def test_progress_is_told_up_to_the_end_of_each_file(tmp_path: Path, home: Home) -> None:
    size = write_script(tmp_path / "m.scripted.json").stat().st_size
    loaded = load(tmp_path, "version: 1\nmodels: {m: {source: 'file:./m.scripted.json'}}\n")
    told: list[tuple[str, str, int, int | None]] = []
    asyncio.run(
        pin(loaded, open_catalog(home), lambda *told_now: told.append(told_now), fetches=True)
    )
    assert told[-1] == ("verify", "m.scripted.json", size, size)


def test_files_of_single_instances_are_pinned_and_shared_ones_once(
    tmp_path: Path, home: Home
) -> None:
    for name in ("m.scripted.json", "a.gguf", "b.gguf"):
        write_script(tmp_path / name)
    loaded = load(
        tmp_path,
        """
version: 1
models:
  m:
    source: file:./m.scripted.json
    load: {adapters: [{source: file:./a.gguf}]}
    instances:
      - {identifier: one, load: {adapters: [{source: file:./a.gguf}, {source: file:./b.gguf}]}}
      - {identifier: two}
""",
    )
    pinned = asyncio.run(pin(loaded, open_catalog(home), tell_nobody, fetches=True))
    files = pinned.lock.models["m"].files
    assert [(it.role, it.name) for it in files] == [
        ("model", "m.scripted.json"),
        ("adapter", "a.gguf"),
        ("adapter", "b.gguf"),
    ]


def test_versions_are_those_that_lmrun_runs_on_not_those_it_is_developed_with() -> None:
    versions = read_versions()
    assert {"pydantic", "starlette", "uvicorn"} <= versions.keys()
    assert not {"pytest", "ruff", "mypy"} & versions.keys()


def test_a_watched_profile_that_was_refused_is_hashed_again_once_its_lock_file_changes(
    tmp_path: Path,
) -> None:
    loaded = load(tmp_path, "version: 1\n")
    asked: list[LoadedProfile] = []

    async def refuse(profile: LoadedProfile) -> None:
        asked.append(profile)
        raise LockMismatch("It differs.")

    watched = Watched(refuse)
    for _ in range(3):
        with pytest.raises(LockMismatch):
            asyncio.run(watched.require(loaded))
    assert len(asked) == 1
    lock_path(loaded.root).write_text("{}")
    with pytest.raises(LockMismatch):
        asyncio.run(watched.require(loaded))
    assert len(asked) == 2
