"""Commits on the disk: complete, switched in one step, unchanged files the same files."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lmrun.errors import StoreError
from lmrun.reconcile.git.checkout import Checkouts
from lmrun.reconcile.git.memory import GitMemory, Refusal, read_memory, write_memory
from lmrun.reconcile.git.repository import TreeFile
from lmrun.settings.git_source import GitSource

ONE, TWO = "1" * 40, "2" * 40


def add(checkouts: Checkouts, commit: str, **contents: bytes) -> Path:
    files = [TreeFile(name, f"{commit}{name}", len(it), False) for name, it in contents.items()]
    return checkouts.add(commit, files, {f"{commit}{name}": it for name, it in contents.items()})


def test_a_commit_is_a_folder_of_private_files_and_current_leads_to_one(tmp_path: Path) -> None:
    checkouts = Checkouts(tmp_path)
    assert checkouts.find_current() is None
    run = TreeFile("bin/run", "b", 2, True)
    folder = checkouts.add(ONE, [run, TreeFile("p", "p", 1, False)], {"b": b"#!", "p": b"x"})
    checkouts.switch(ONE)
    assert checkouts.find_current() == ONE
    assert (checkouts.current / "p").read_bytes() == b"x"
    modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in ("bin/run", "p", "bin")]
    assert modes == [0o700, 0o600, 0o700]


def test_what_a_commit_does_not_change_stays_the_same_file(tmp_path: Path) -> None:
    checkouts = Checkouts(tmp_path)
    add(checkouts, ONE, same=b"model", other=b"a")
    checkouts.switch(ONE)
    before = (checkouts.current / "same").stat()
    add(checkouts, TWO, same=b"model", other=b"b")
    checkouts.switch(TWO)
    after = (checkouts.current / "same").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (checkouts.current / "other").read_bytes() == b"b"
    assert (checkouts.locate(ONE) / "other").read_bytes() == b"a"


def test_what_was_left_unfinished_is_done_again(tmp_path: Path) -> None:
    checkouts = Checkouts(tmp_path)
    left = checkouts.locate(ONE).with_name(f"{ONE}.unfinished")
    left.mkdir(parents=True)
    (left / "stale").write_bytes(b"half")
    folder = add(checkouts, ONE, p=b"x")
    assert [it.name for it in folder.iterdir()] == ["p"]
    assert not left.exists()


def test_only_commits_that_are_needed_stay(tmp_path: Path) -> None:
    checkouts = Checkouts(tmp_path)
    checkouts.keep_only([ONE])
    for commit in (ONE, TWO):
        add(checkouts, commit, p=b"x")
    checkouts.keep_only([TWO])
    assert not checkouts.locate(ONE).exists()
    assert checkouts.locate(TWO).is_dir()


def test_a_disk_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "commits").write_text("a file is in the way")
    with pytest.raises(StoreError):
        add(Checkouts(tmp_path), ONE, p=b"x")


def test_what_is_known_outlives_a_restart_and_is_of_one_ref_and_path(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    source = GitSource("/r", "main", "p.yaml")
    assert read_memory(file, source) == GitMemory("main", "p.yaml")
    known = GitMemory("main", "p.yaml", ONE, ONE, Refusal(TWO, "RolledBack", "why"))
    write_memory(file, known)
    assert read_memory(file, source) == known
    assert read_memory(file, GitSource("/r", "next", "p.yaml")) == GitMemory("next", "p.yaml")
    file.write_bytes(b"{damaged")
    assert read_memory(file, source) == GitMemory("main", "p.yaml")
