"""Accepted profiles, numbered and kept in SQLite. It does not know what their texts mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from lmrun.errors import StoreError
from lmrun.store.database import Database, Layout

GenerationState = Literal["accepted", "converged", "failed"]
Texts = tuple[tuple[str, str], ...]

KEPT_GENERATIONS = 50
"""Older ones are dropped, except the newest that converged."""

_LAYOUT = Layout(
    version=1,
    pragmas=("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"),
    remedy="apply the profile again",
    schema="""
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
""",
)


@dataclass(frozen=True, slots=True)
class Generation:
    """One accepted profile: `texts` are its files as (path, text), the root file first.

    `created`: ISO 8601 in UTC. `state`: what became of it so far.
    """

    number: int
    created: str
    root: str
    texts: Texts
    state: GenerationState


class Generations:
    """The database of one home. Callable from any thread; every method raises StoreError."""

    def __init__(self, database: Path) -> None:
        """Open `database`, or create it for this user only."""
        self._database = Database(database, _LAYOUT)

    def add(self, root: str, texts: Sequence[tuple[str, str]]) -> Generation:
        """Number a new profile. The newest one again gets no new number and keeps its state."""
        wanted = tuple((path, text) for path, text in texts)
        with self._database.transaction() as connection:
            newest = _read(connection, "")
            if newest is not None and (newest.root, newest.texts) == (root, wanted):
                return newest
            created = datetime.now(UTC).isoformat(timespec="milliseconds")
            number = connection.execute(
                "INSERT INTO generations (created, root, state) VALUES (?, ?, 'accepted')",
                (created, root),
            ).lastrowid
            connection.executemany(
                "INSERT INTO texts VALUES (?, ?, ?, ?)",
                [(number, place, path, text) for place, (path, text) in enumerate(wanted)],
            )
            _drop_old(connection)
        return Generation(number or 0, created, root, wanted, "accepted")

    def mark(self, number: int, state: GenerationState) -> None:
        """Write down what became of a generation. An unknown number is a StoreError."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE generations SET state = ? WHERE number = ?", (state, number)
            ).rowcount
        if changed != 1:
            raise StoreError(f"{self._database}: there is no generation {number}.")

    def newest(self) -> Generation | None:
        """The one accepted last, whatever became of it."""
        with self._database.transaction() as connection:
            return _read(connection, "")

    def last_good(self) -> Generation | None:
        """The newest that converged."""
        with self._database.transaction() as connection:
            return _read(connection, "WHERE state = 'converged'")

    def set_resting(self, resting: bool) -> None:
        """True after `lmrun down`: a start then restores nothing."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO flags VALUES ('resting', ?)", (resting,))

    def is_resting(self) -> bool:
        with self._database.transaction() as connection:
            row = connection.execute("SELECT value FROM flags WHERE name = 'resting'").fetchone()
        return bool(row and row[0])

    def close(self) -> None:
        self._database.close()


def _read(connection: sqlite3.Connection, where: str) -> Generation | None:
    row = connection.execute(
        f"SELECT number, created, root, state FROM generations {where} ORDER BY number DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    number, created, root, state = row
    texts = connection.execute(
        "SELECT path, text FROM texts WHERE generation = ? ORDER BY position", (number,)
    )
    return Generation(number, created, root, tuple((path, text) for path, text in texts), state)


def _drop_old(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM generations WHERE number NOT IN "
        "(SELECT number FROM generations ORDER BY number DESC LIMIT ?) AND number IS NOT "
        "(SELECT max(number) FROM generations WHERE state = 'converged')",
        (KEPT_GENERATIONS,),
    )
