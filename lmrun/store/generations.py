"""Accepted profiles, numbered and kept in SQLite, each with who had it accepted and what became of
it. It knows neither what their texts mean nor what a plan is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from lmrun.errors import GenerationUnknown
from lmrun.failpoints import reach
from lmrun.store.database import Database, Layout

GenerationState = Literal["accepted", "converged", "failed"]
Texts = tuple[tuple[str, str], ...]

KEPT_GENERATIONS = 50
"""Older ones are dropped, except the newest that converged."""

_MOST = 2**63 - 1
"""SQLite counts no further."""

_OUTCOMES = """
CREATE TABLE outcomes (
    generation INTEGER NOT NULL REFERENCES generations (number) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    ended TEXT NOT NULL,
    seconds REAL NOT NULL,
    error TEXT,
    tries INTEGER NOT NULL,
    PRIMARY KEY (generation, kind, target)
)
"""
_LAYOUT = Layout(
    version=2,
    pragmas=("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"),
    remedy="apply the profile again",
    schema=f"""
CREATE TABLE generations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    root TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'converged', 'failed')),
    author TEXT NOT NULL,
    how TEXT NOT NULL,
    plan TEXT NOT NULL
);
CREATE TABLE texts (
    generation INTEGER NOT NULL REFERENCES generations (number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    path TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (generation, position)
);
CREATE TABLE flags (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
{_OUTCOMES}
""",
    upgrades={
        1: f"""
ALTER TABLE generations ADD COLUMN author TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN how TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN plan TEXT NOT NULL DEFAULT '[]';
{_OUTCOMES}
"""
    },
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a generation came from. `author`: the user it was accepted for. `how`: by what, for
    example `apply`, `watch` or `rollback to 3`. Both are empty where an older lmrun wrote it."""

    author: str
    how: str


@dataclass(frozen=True, slots=True)
class PastOutcome:
    """How an action of a generation ended the last time, of `tries`. `ended`: ISO 8601 in UTC."""

    kind: str
    target: str
    ended: str
    seconds: float
    error: str | None = None
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Generation:
    """One accepted profile: `texts` are its files as (path, text), the root file first.

    `created`: ISO 8601 in UTC. `state`: what became of it so far. `plan`: JSON of whoever made it.
    `outcomes`: of its actions, in the order in which they first ended.
    """

    number: int
    created: str
    root: str
    texts: Texts
    state: GenerationState
    origin: Origin = Origin("", "")
    plan: str = "[]"
    outcomes: tuple[PastOutcome, ...] = ()


class Generations:
    """The database of one home. Callable from any thread; every method raises StoreError."""

    def __init__(self, database: Path) -> None:
        """Open `database`, or create it for this user only."""
        self._database = Database(database, _LAYOUT)

    def add(
        self,
        root: str,
        texts: Sequence[tuple[str, str]],
        origin: Origin = Origin("", ""),
        plan: str = "[]",
    ) -> Generation:
        """Number a new profile. The newest one again gets no new number and stays as it is.

        Nothing rests any more, from the same moment on.
        """
        wanted = tuple((path, text) for path, text in texts)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM flags WHERE name = 'resting'")
            newest = _read(connection, "")
            if newest is not None and (newest.root, newest.texts) == (root, wanted):
                return newest
            created = _now()
            number = connection.execute(
                "INSERT INTO generations (created, root, state, author, how, plan)"
                " VALUES (?, ?, 'accepted', ?, ?, ?)",
                (created, root, origin.author, origin.how, plan),
            ).lastrowid
            connection.executemany(
                "INSERT INTO texts VALUES (?, ?, ?, ?)",
                [(number, place, path, text) for place, (path, text) in enumerate(wanted)],
            )
            _drop_old(connection)
            reach("generation.written")
        reach("generation.committed")
        return Generation(number or 0, created, root, wanted, "accepted", origin, plan)

    def mark(self, number: int, state: GenerationState) -> None:
        """Write down what became of a generation. Raises GenerationUnknown, too."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE generations SET state = ? WHERE number = ?", (state, number)
            ).rowcount
            reach("generation.marked")
        if changed != 1:
            raise GenerationUnknown(f"There is no generation {number}.")

    def note(self, number: int, outcomes: Iterable[PastOutcome]) -> None:
        """Keep how actions of a generation have ended; one that was done before has one try more.
        Those of a generation that is gone are dropped."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO outcomes SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7"
                " WHERE EXISTS (SELECT 1 FROM generations WHERE number = ?1)"
                " ON CONFLICT (generation, kind, target) DO UPDATE SET ended = excluded.ended,"
                " seconds = excluded.seconds, error = excluded.error,"
                " tries = tries + excluded.tries",
                [
                    (number, it.kind, it.target, it.ended, it.seconds, it.error, it.tries)
                    for it in outcomes
                ],
            )
            reach("outcomes.written")

    def find(self, number: int) -> Generation:
        """One generation. Raises GenerationUnknown when it never was, or is no longer kept."""
        with self._database.transaction() as connection:
            found = _read(connection, "WHERE number = ?", min(number, _MOST))
            kept = connection.execute("SELECT min(number), max(number) FROM generations").fetchone()
        if found is None:
            raise GenerationUnknown(
                f"There is no generation {number}.",
                hint="No profile has been applied yet."
                if kept[0] is None
                else f"Kept are {kept[0]} to {kept[1]}; `lmrun history` lists them.",
            )
        return found

    def last_good_before(self, number: int | None) -> Generation | None:
        """The newest that converged; below `number`, where one is given."""
        bound = _MOST if number is None else number
        with self._database.transaction() as connection:
            return _read(connection, "WHERE state = 'converged' AND number < ?", bound)

    def history(self) -> tuple[Generation, ...]:
        """All that are kept, the newest first."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT number FROM generations ORDER BY number DESC")
            found = [_read(connection, "WHERE number = ?", number) for (number,) in rows.fetchall()]
        return tuple(it for it in found if it is not None)

    def newest(self) -> Generation | None:
        """The one accepted last, whatever became of it."""
        with self._database.transaction() as connection:
            return _read(connection, "")

    def rest(self) -> None:
        """After `lmrun down`: a start restores nothing, until something is accepted."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO flags VALUES ('resting', 1)")
            reach("rest.written")
        reach("rest.committed")

    def is_resting(self) -> bool:
        with self._database.transaction() as connection:
            row = connection.execute("SELECT value FROM flags WHERE name = 'resting'").fetchone()
        return bool(row and row[0])

    def try_disk(self) -> None:
        """Whether there is room for what is written next. Raises DiskFull where there is none."""
        self._database.try_disk()

    def close(self) -> None:
        self._database.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _read(connection: sqlite3.Connection, where: str, *values: int) -> Generation | None:
    row = connection.execute(
        "SELECT number, created, root, state, author, how, plan"
        f" FROM generations {where} ORDER BY number DESC LIMIT 1",
        values,
    ).fetchone()
    if row is None:
        return None
    number, created, root, state, author, how, plan = row
    texts = connection.execute(
        "SELECT path, text FROM texts WHERE generation = ? ORDER BY position", (number,)
    )
    outcomes = connection.execute(
        "SELECT kind, target, ended, seconds, error, tries FROM outcomes"
        " WHERE generation = ? ORDER BY rowid",
        (number,),
    )
    return Generation(
        number,
        created,
        root,
        tuple((path, text) for path, text in texts),
        state,
        Origin(author, how),
        plan,
        tuple(PastOutcome(*outcome) for outcome in outcomes),
    )


def _drop_old(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM generations WHERE number NOT IN "
        "(SELECT number FROM generations ORDER BY number DESC LIMIT ?) AND number IS NOT "
        "(SELECT max(number) FROM generations WHERE state = 'converged')",
        (KEPT_GENERATIONS,),
    )
