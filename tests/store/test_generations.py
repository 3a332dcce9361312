"""Generations: numbered, kept through crashes, the last good one always there."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmrun.errors import DiskFull, GenerationUnknown, StoreError
from lmrun.store.generations import (
    KEPT_GENERATIONS,
    Generation,
    Generations,
    Origin,
    PastOutcome,
)

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


FIRST_VERSION = """
CREATE TABLE generations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    root TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'converged', 'failed'))
);
CREATE TABLE texts (
    generation INTEGER NOT NULL REFERENCES generations (number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    path TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (generation, position)
);
CREATE TABLE flags (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO generations VALUES (
    1, '2026-11-01T00:00:00.000+00:00', '/p/profile.yaml', 'converged'
);
INSERT INTO texts VALUES (1, 0, '/p/profile.yaml', 'a');
PRAGMA user_version = 1;
"""


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[Generations]:
    opened = Generations(tmp_path / "lmrun.db")
    yield opened
    opened.close()


def test_an_empty_home_has_no_generation_and_does_not_rest(generations: Generations) -> None:
    assert generations.newest() is None
    assert generations.last_good_before(None) is None
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
    good, newest = generations.last_good_before(None), generations.newest()
    assert good is not None
    assert newest is not None
    assert (good.number, newest.number, newest.state) == (2, 3, "failed")
    before = generations.last_good_before(2)
    assert before is not None
    assert before.number == 1


def test_a_generation_keeps_who_how_and_its_plan(generations: Generations) -> None:
    origin = Origin("alice", "apply")
    added = generations.add(ROOT, [(ROOT, "a")], origin, '[{"kind":"Load"}]')
    assert generations.find(added.number) == added
    assert (added.origin, added.plan) == (origin, '[{"kind":"Load"}]')
    again = generations.add(ROOT, [(ROOT, "a")], Origin("bob", "watch"), "[]")
    assert again == added


def test_of_each_action_the_last_outcome_is_kept_with_the_number_of_its_tries(
    generations: Generations,
) -> None:
    number = generations.add(ROOT, [(ROOT, "a")]).number
    failed = PastOutcome("Load", "m", "2026-11-25T10:00:00+00:00", 1.0, "no memory")
    listening = PastOutcome("Listen", "127.0.0.1:1", "2026-11-25T10:00:01+00:00", 0.1)
    generations.note(number, [failed, failed, listening])
    done = PastOutcome("Load", "m", "2026-11-25T10:00:09+00:00", 2.0)
    generations.note(number, [done])
    assert generations.find(number).outcomes == (
        PastOutcome("Load", "m", done.ended, 2.0, None, tries=3),
        listening,
    )


def test_outcomes_of_a_generation_that_is_gone_are_dropped(generations: Generations) -> None:
    generations.note(7, [PastOutcome("Load", "m", "2026-11-25T10:00:00+00:00", 1.0)])
    assert generations.history() == ()


def test_history_has_the_newest_first(generations: Generations) -> None:
    added = [generations.add(ROOT, [(ROOT, text)]) for text in "abc"]
    assert generations.history() == tuple(reversed(added))


@pytest.mark.parametrize("number", [4, 10**30])
def test_an_unknown_generation_is_refused_with_those_that_are_kept(
    generations: Generations, number: int
) -> None:
    with pytest.raises(GenerationUnknown, match="No profile has been applied"):
        generations.find(number)
    for text in "abc":
        generations.add(ROOT, [(ROOT, text)])
    with pytest.raises(GenerationUnknown, match="Kept are 1 to 3"):
        generations.find(number)


def test_a_database_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    database = tmp_path / "lmrun.db"
    connection = sqlite3.connect(database)
    connection.executescript(FIRST_VERSION)
    connection.close()
    generations = Generations(database)
    old = Generation(1, "2026-11-01T00:00:00.000+00:00", ROOT, ((ROOT, "a"),), "converged")
    assert generations.newest() == old
    generations.note(1, [PastOutcome("Load", "m", "2026-11-25T10:00:00+00:00", 1.0)])
    assert generations.add(ROOT, [(ROOT, "b")], Origin("alice", "apply")).number == 2
    generations.close()
    again = Generations(database)
    assert [it.number for it in again.history()] == [2, 1]
    again.close()


def test_an_unknown_generation_cannot_be_marked(generations: Generations) -> None:
    with pytest.raises(GenerationUnknown, match="no generation 7"):
        generations.mark(7, "failed")


def test_old_generations_are_dropped_but_never_the_last_good_one(generations: Generations) -> None:
    generations.mark(generations.add(ROOT, [(ROOT, "good")]).number, "converged")
    for number in range(KEPT_GENERATIONS + 5):
        generations.add(ROOT, [(ROOT, str(number))])
    good = generations.last_good_before(None)
    assert good is not None
    assert good.texts == ((ROOT, "good"),)
    (kept,) = generations._database._connection.execute("SELECT count(*) FROM texts").fetchone()
    assert kept == KEPT_GENERATIONS + 1


@contextmanager
def opened(folder: Path) -> Iterator[Generations]:
    generations = Generations(folder / "lmrun.db")
    yield generations
    generations.close()


def test_resting_outlives_the_process_and_ends_with_what_is_accepted(tmp_path: Path) -> None:
    with opened(tmp_path) as before:
        before.add(ROOT, [(ROOT, "a")])
        before.rest()
    with opened(tmp_path) as after:
        assert after.is_resting()
        assert after.add(ROOT, [(ROOT, "a")]).number == 1
    with opened(tmp_path) as again:
        assert not again.is_resting()


def test_what_was_written_survives_a_kill_in_the_middle_of_a_transaction(tmp_path: Path) -> None:
    database = tmp_path / "lmrun.db"
    finished = subprocess.run([sys.executable, "-c", DIES_AFTER_WRITING, str(database)])
    assert finished.returncode == -signal.SIGKILL
    generations = Generations(database)
    good, newest = generations.last_good_before(None), generations.newest()
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
    with pytest.raises(DiskFull, match="disk is full"):
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
