"""Stored runs: each step kept, each key one run, and all of it within bounds."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmrun.errors import StoreError
from lmrun.store.runs import MAX_AGE_S, MAX_ATTEMPTS, StoredRun, StoredRuns


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def small(tmp_path: Path, clock: Clock) -> Iterator[StoredRuns]:
    """Room for four runs, for 1000 bytes, and for 400 of one run."""
    opened = StoredRuns(
        tmp_path / "runs.db", max_runs=4, max_bytes=1000, max_run_bytes=400, now=clock
    )
    yield opened
    opened.close()


def new(id: str, clock: Clock, *, key: str | None = None, owner: str = "") -> StoredRun:
    return StoredRun(
        id, owner, key, f"digest of {id}", "running", False, clock.now, clock.now, b"h", None
    )


def add_ended(runs: StoredRuns, id: str, clock: Clock, size: int = 1) -> None:
    clock.now += 1
    runs.add(new(id, clock), bytes(size - 1))
    runs.set_state(id, "completed")


def kept(runs: StoredRuns, state: str | None = None) -> list[str]:
    return [run.id for run in runs.read_all(state, 100)]


def test_a_run_comes_back_with_its_steps_in_order(small: StoredRuns, clock: Clock) -> None:
    given = new("a", clock)
    assert small.add(given, b"content") == given
    clock.now += 5
    for step in (b"1", b"\x00\xff", b"3"):
        small.append("a", step)
    assert small.read("a") == replace(given, updated=clock.now)
    assert small.read_content("a") == b"content"
    assert small.read_steps("a") == [b"1", b"\x00\xff", b"3"]
    small.set_state("a", "completed", b"outcome")
    assert small.read("a") == replace(
        given, updated=clock.now, state="completed", outcome=b"outcome"
    )
    assert small.read("b") is None
    assert small.read_steps("b") == []


def test_what_was_written_is_read_by_the_next_process_and_by_nobody_else(
    tmp_path: Path, clock: Clock
) -> None:
    file = tmp_path / "runs.db"
    first = StoredRuns(file)
    first.add(new("a", clock), b"content")
    first.append("a", b"step")
    second = StoredRuns(file)  # the first one is still open, as after a kill
    assert second.read_steps("a") == [b"step"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first.close()
    second.close()


def test_an_idempotency_key_is_one_run_of_its_owner(small: StoredRuns, clock: Clock) -> None:
    first = small.add(new("a", clock, key="k", owner="ci"), b"")
    assert small.add(new("b", clock, key="k", owner="ci"), b"") == first
    assert small.add(new("c", clock, key="k", owner="other"), b"").id == "c"
    assert small.add(new("d", clock), b"").id == "d"
    assert small.add(new("e", clock), b"").id == "e"
    assert kept(small) == ["e", "d", "c", "a"]


def test_the_oldest_that_ended_make_room_and_none_that_runs(
    small: StoredRuns, clock: Clock
) -> None:
    small.add(new("runs", clock), b"")
    for id in ("a", "b", "c", "d", "e"):
        add_ended(small, id, clock)
    assert kept(small) == ["e", "d", "c", "runs"]
    clock.now += 1
    small.append("c", b"used again")
    add_ended(small, "f", clock)
    add_ended(small, "g", clock)
    assert kept(small) == ["g", "f", "c", "runs"]


def test_bytes_are_bounded_steps_included(small: StoredRuns, clock: Clock) -> None:
    add_ended(small, "a", clock, 300)
    add_ended(small, "b", clock, 300)
    small.add(new("c", clock), bytes(99))
    small.append("c", bytes(250))
    add_ended(small, "d", clock, 300)
    assert kept(small) == ["d", "c", "b"]
    with pytest.raises(StoreError, match="400"):
        small.append("c", bytes(100))
    assert len(small.read_steps("c")) == 1
    with pytest.raises(StoreError, match="400"):
        small.add(new("e", clock), bytes(500))


def test_old_ones_are_dropped(small: StoredRuns, clock: Clock) -> None:
    add_ended(small, "a", clock)
    clock.now += MAX_AGE_S - 10
    add_ended(small, "b", clock)
    clock.now += 20
    add_ended(small, "c", clock)
    assert kept(small) == ["c", "b"]


def test_steps_go_with_their_run(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "runs.db"
    runs = StoredRuns(file, max_runs=1, now=clock)
    runs.add(new("a", clock), b"")
    runs.append("a", b"the secret step")
    runs.set_state("a", "completed")
    add_ended(runs, "b", clock)
    assert kept(runs) == ["b"]
    with pytest.raises(StoreError, match="no run"):
        runs.append("a", b"late")
    runs.close()
    assert b"the secret step" not in file.read_bytes()


def test_after_a_restart_nothing_runs_and_the_background_goes_on(
    small: StoredRuns, clock: Clock
) -> None:
    small.add(new("attached", clock), b"")
    small.add(replace(new("detached", clock), is_background=True), b"")
    small.add(replace(new("lives", clock), is_background=True), b"")
    add_ended(small, "ended", clock)
    assert [run.id for run in small.take_over({"lives"})] == ["detached"]
    assert kept(small, "interrupted") == ["detached", "attached"]
    assert kept(small, "running") == ["lives"]
    assert kept(small, "completed") == ["ended"]


def test_a_run_that_makes_no_step_does_not_go_on_by_itself_for_ever(
    small: StoredRuns, clock: Clock
) -> None:
    small.add(replace(new("a", clock), is_background=True), b"")

    def restart() -> bool:
        went_on = [run.id for run in small.take_over()] == ["a"]
        small.set_state("a", "running")
        return went_on

    assert [restart() for _ in range(MAX_ATTEMPTS)] == [True] * MAX_ATTEMPTS
    assert not restart()
    small.append("a", b"a step")
    assert restart()


def test_what_was_written_is_on_the_disk_whatever_becomes_of_the_power(tmp_path: Path) -> None:
    """SQLite syncs its log at each commit; a call whose end was lost would be made again."""
    runs = StoredRuns(tmp_path / "runs.db")
    with runs._database.transaction() as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    runs.close()
    assert (mode, synchronous) == ("wal", 2)
