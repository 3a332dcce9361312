"""Runs of tools, and the steps that they have made, in SQLite. It knows no run's content."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.errors import StoreError
from lmrun.failpoints import reach
from lmrun.store.database import Database, Layout

MAX_RUNS = 2_000
MAX_BYTES = 512 * 2**20
MAX_RUN_BYTES = 64 * 2**20
"""Of one run with all its steps."""
MAX_AGE_S = 30 * 86_400.0
"""Since a run's last step."""
MAX_ATTEMPTS = 3
"""How often a run goes on by itself after a restart without making a step."""

_LAYOUT = Layout(
    version=1,
    # What is deleted is overwritten. What was written outlives a power cut: a call whose end was
    # lost would be made again.
    pragmas=(
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "foreign_keys = ON",
    ),
    remedy="start the server again; its runs are lost",
    schema="""
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    idempotency_key TEXT,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    is_background INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    size INTEGER NOT NULL,
    header BLOB NOT NULL,
    content BLOB NOT NULL,
    outcome BLOB,
    UNIQUE (owner, idempotency_key)
);
CREATE TABLE steps (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (run, number)
)
""",
)

_COLUMNS = (
    "id, owner, idempotency_key, digest, state, is_background, created, updated, header, outcome"
)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """`owner`: whose idempotency keys count together. `digest`: of what was asked. `header`: what
    a list shows, `outcome`: how it ended; both up to whoever made them. Times: seconds since 1970.
    """

    id: str
    owner: str
    idempotency_key: str | None
    digest: str
    state: str
    is_background: bool
    created: float
    updated: float
    header: bytes
    outcome: bytes | None


class StoredRuns:
    """The runs of one home. Callable from any thread; every method raises StoreError.

    There are at most `max_runs` and `max_bytes`, none older than MAX_AGE_S. Those whose last step
    is the oldest are dropped first; one that is running never is.
    """

    def __init__(
        self,
        database: Path | None = None,
        *,
        max_runs: int = MAX_RUNS,
        max_bytes: int = MAX_BYTES,
        max_run_bytes: int = MAX_RUN_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Open `database`, or create it for this user only; None: until `close`, in memory."""
        self._database = Database(database, _LAYOUT)
        self._max_runs = max_runs
        self._max_bytes = max_bytes
        self._max_run_bytes = max_run_bytes
        self._now = now

    def add(self, run: StoredRun, content: bytes) -> StoredRun:
        """Keep a new run, or give the one that its owner has begun with the same idempotency key.
        `content`: what it takes to run it."""
        size = len(content) + len(run.header)
        self._require_size(size)
        with self._database.transaction() as connection:
            earlier = connection.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE owner = ? AND idempotency_key = ?",
                (run.owner, run.idempotency_key),
            ).fetchone()
            if earlier is not None:
                return _to_run(earlier)
            connection.execute(
                "INSERT INTO runs (id, owner, idempotency_key, digest, state, is_background,"
                " created, updated, size, header, content)"
                f" VALUES ({', '.join('?' * 11)})",
                (
                    run.id,
                    run.owner,
                    run.idempotency_key,
                    run.digest,
                    run.state,
                    run.is_background,
                    run.created,
                    run.updated,
                    size,
                    run.header,
                    content,
                ),
            )
            self._drop_old(connection)
            reach("run.written")
        return run

    def append(self, id: str, content: bytes) -> None:
        """The next step of a run."""
        with self._database.transaction() as connection:
            number, size = connection.execute(
                "SELECT number, size FROM runs WHERE id = ?", (id,)
            ).fetchone() or (None, 0)
            if number is None:
                raise StoreError(f"There is no run {id!r} any more.")
            self._require_size(size + len(content))
            connection.execute(
                "INSERT INTO steps (run, number, content) SELECT ?1, count(*), ?2 FROM steps"
                " WHERE run = ?1",
                (number, content),
            )
            connection.execute(
                "UPDATE runs SET size = size + ?, updated = ?, attempts = 0 WHERE number = ?",
                (len(content), self._now(), number),
            )
            reach("run.step_written")

    def set_state(self, id: str, state: str, outcome: bytes | None = None) -> None:
        """A run begins, ends or is interrupted."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET state = ?, outcome = ?, updated = ? WHERE id = ?",
                (state, outcome, self._now(), id),
            )
            reach("run.state_written")

    def read(self, id: str) -> StoredRun | None:
        """One run."""
        with self._database.transaction() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (id,)).fetchone()
        return None if row is None else _to_run(row)

    def read_content(self, id: str) -> bytes:
        """What it takes to run it. Raises StoreError when there is no such run."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT content FROM runs WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise StoreError(f"There is no run {id!r} any more.")
        return bytes(row[0])

    def read_steps(self, id: str) -> list[bytes]:
        """The steps of a run, the first one first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT steps.content FROM steps JOIN runs ON runs.number = steps.run"
                " WHERE id = ? ORDER BY steps.number",
                (id,),
            ).fetchall()
        return [content for (content,) in rows]

    def read_all(self, state: str | None, limit: int) -> list[StoredRun]:
        """Those in `state`, or all; the newest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE ?1 IS NULL OR state = ?1"
                " ORDER BY number DESC LIMIT ?2",
                (state, limit),
            ).fetchall()
        return [_to_run(row) for row in rows]

    def take_over(self, running: Collection[str] = ()) -> list[StoredRun]:
        """After a restart: what says that it runs is interrupted, but those that do. Gives those
        that go on by themselves, the oldest first; one that did so MAX_ATTEMPTS times without
        making a step is none of them."""
        with self._database.transaction() as connection:
            found = connection.execute("SELECT id FROM runs WHERE state = 'running'").fetchall()
            connection.executemany(
                "UPDATE runs SET state = 'interrupted' WHERE id = ?",
                [row for row in found if row[0] not in running],
            )
            waiting = "state = 'interrupted' AND is_background AND attempts < ?"
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE {waiting} ORDER BY number", (MAX_ATTEMPTS,)
            ).fetchall()
            connection.execute(
                f"UPDATE runs SET attempts = attempts + 1 WHERE {waiting}", (MAX_ATTEMPTS,)
            )
            reach("run.taken_over")
        return [_to_run(row) for row in rows]

    def close(self) -> None:
        """Nothing may follow."""
        self._database.close()

    def _require_size(self, size: int) -> None:
        if size > self._max_run_bytes:
            raise StoreError(f"A run of {size} bytes cannot be kept; {self._max_run_bytes} can be.")

    def _drop_old(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM runs WHERE updated < ? AND state != 'running'", (self._now() - MAX_AGE_S,)
        )
        connection.execute(
            "DELETE FROM runs WHERE state != 'running' AND number IN ("
            " SELECT number FROM ("
            "  SELECT number, row_number() OVER newest AS place, sum(size) OVER newest AS total"
            "  FROM runs WINDOW newest AS (ORDER BY state != 'running', updated DESC, number DESC)"
            " ) WHERE place > ? OR total > ?)",
            (self._max_runs, self._max_bytes),
        )


def _to_run(row: tuple[Any, ...]) -> StoredRun:
    id, owner, key, digest, state, is_background, created, updated, header, outcome = row
    return StoredRun(
        id, owner, key, digest, state, bool(is_background), created, updated, header, outcome
    )
