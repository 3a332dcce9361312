"""Generations: numbered, kept through crashes, the last good one always there."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmrun.errors import StoreError
from lmrun.store.generations import KEPT_GENERATIONS, Generations

ROOT = "/p/profile.yaml"
DIES_AFTER_WRITING = """
import os, signal, sys
from pathlib import Path
from lmrun.store.generations import Generations
generations = Generations(Path(sys.argv[1]))
generations.mark(generations.add("root", [("root", "one")]).number, "converged")
generations.add("root", [("root", "two")])
connection = generations._database._connection
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM generations")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[Generations]:
    opened = Generations(tmp_path / "lmrun.db")
    yield opened
    opened.close()


def test_an_empty_home_has_no_generation_and_does_not_rest(generations: Generations) -> None:
    assert generations.newest() is None
    assert generations.last_good() is None
    assert not generations.is_resting()


def test_a_profile_is_numbered_and_comes_back_as_it_was(generations: Generations) -> None:
    texts = [(ROOT, "version: 1\n"), ("/p/base.yaml", "größe: 🦙\r\n")]
    added = generations.add(ROOT, texts)
    assert (added.number, added.root, added.texts) == (1, ROOT, tuple(texts))
    assert added.state == "accepted"
    assert added.created.endswith("+00:00")
    assert generations.newest() == added


def test_the_newest_texts_again_get_no_new_number(generations: Generations) -> None:
    first = generations.add(ROOT, [(ROOT, "a")])
    generations.mark(first.number, "converged")
    assert generations.add(ROOT, [(ROOT, "a")]).state == "converged"
    assert generations.add(ROOT, [(ROOT, "b")]).number == 2
    assert generations.add(ROOT, [(ROOT, "a")]).number == 3
    assert generations.add("/other.yaml", [(ROOT, "a")]).number == 4


def test_the_last_good_one_is_the_newest_that_converged(generations: Generations) -> None:
    for text in "abc":
        generations.add(ROOT, [(ROOT, text)])
    generations.mark(1, "converged")
    generations.mark(2, "converged")
    generations.mark(3, "failed")
    good, newest = generations.last_good(), generations.newest()
    assert good is not None
    assert newest is not None
    assert (good.number, newest.number, newest.state) == (2, 3, "failed")


def test_an_unknown_generation_cannot_be_marked(generations: Generations) -> None:
    with pytest.raises(StoreError, match="no generation 7"):
        generations.mark(7, "failed")


def test_old_generations_are_dropped_but_never_the_last_good_one(generations: Generations) -> None:
    generations.mark(generations.add(ROOT, [(ROOT, "good")]).number, "converged")
    for number in range(KEPT_GENERATIONS + 5):
        generations.add(ROOT, [(ROOT, str(number))])
    good = generations.last_good()
    assert good is not None
    assert good.texts == ((ROOT, "good"),)
    (kept,) = generations._database._connection.execute("SELECT count(*) FROM texts").fetchone()
    assert kept == KEPT_GENERATIONS + 1


def test_resting_outlives_the_process(tmp_path: Path) -> None:
    for resting in (True, False):
        before = Generations(tmp_path / "lmrun.db")
        before.set_resting(resting)
        before.close()
        after = Generations(tmp_path / "lmrun.db")
        assert after.is_resting() is resting
        after.close()


def test_what_was_written_survives_a_kill_in_the_middle_of_a_transaction(tmp_path: Path) -> None:
    database = tmp_path / "lmrun.db"
    finished = subprocess.run([sys.executable, "-c", DIES_AFTER_WRITING, str(database)])
    assert finished.returncode == -signal.SIGKILL
    generations = Generations(database)
    good, newest = generations.last_good(), generations.newest()
    generations.close()
    assert good is not None
    assert newest is not None
    assert (good.texts, newest.texts) == ((("root", "one"),), (("root", "two"),))


def test_threads_share_one_database(generations: Generations) -> None:
    def add(name: str) -> None:
        for number in range(5):
            generations.add(name, [(name, str(number))])

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = generations.newest()
    assert newest is not None
    assert newest.number == 20


def test_the_database_is_for_its_user_only(generations: Generations, tmp_path: Path) -> None:
    generations.add(ROOT, [(ROOT, "a")])
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_damaged_database_is_named_with_a_way_out(tmp_path: Path) -> None:
    database = tmp_path / "lmrun.db"
    database.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=f"{database}.*move lmrun.db away"):
        Generations(database)


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "lmrun.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer lmrun"):
        Generations(database)


def test_a_full_disk_is_named_and_what_was_there_stays(generations: Generations) -> None:
    generations.add(ROOT, [(ROOT, "a")])
    (pages,) = generations._database._connection.execute("PRAGMA page_count").fetchone()
    generations._database._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="disk is full"):
        generations.add(ROOT, [(ROOT, "b" * 100_000)])
    newest = generations.newest()
    assert newest is not None
    assert newest.texts == ((ROOT, "a"),)


def test_a_closed_or_missing_place_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot create"):
        Generations(tmp_path / "missing" / "lmrun.db")
    generations = Generations(tmp_path / "lmrun.db")
    generations.close()
    with pytest.raises(StoreError, match="closed"):
        generations.newest()
