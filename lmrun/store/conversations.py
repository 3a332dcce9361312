"""Turns of conversations that clients may continue or look up, in SQLite. It knows no dialect and
not what a turn says.

A turn holds what one request said and what was answered; it names the turn that it continues.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmrun.errors import StoreError
from lmrun.store.database import Database, Layout

MAX_TURNS = 10_000
MAX_BYTES = 512 * 2**20
MAX_AGE_S = 30 * 86_400.0
"""Since a turn was made, or continued, last."""

_TICK_S = 1e-6

_LAYOUT = Layout(
    version=1,
    # What is deleted is overwritten. A power cut may cost the last turns, never the file.
    pragmas=("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"),
    remedy="start the server again; its conversations are lost",
    schema="""
CREATE TABLE turns (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    previous TEXT,
    used REAL NOT NULL,
    size INTEGER NOT NULL,
    content BLOB NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX turns_by_use ON turns (used DESC, number, size);
""",
)

_CHAIN = """
WITH RECURSIVE chain (number, previous, depth) AS (
    SELECT number, previous, 0 FROM turns WHERE kind = :kind AND id = :id
    UNION ALL
    SELECT turns.number, turns.previous, depth + 1
    FROM chain JOIN turns ON turns.kind = :kind AND turns.id = chain.previous
)
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """`previous`: the id of the turn it continues. `content`: up to whoever made it."""

    id: str
    previous: str | None
    content: bytes


class Conversations:
    """The turns of one home. Each `kind` has ids of its own.

    Callable from any thread; every method raises StoreError. There are at most `max_turns` and
    `max_bytes` of content, none older than MAX_AGE_S: those that were continued longest ago are
    dropped first, a turn always before those that it continues.
    """

    def __init__(
        self,
        database: Path | None = None,
        *,
        max_turns: int = MAX_TURNS,
        max_bytes: int = MAX_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Open `database`, or create it for this user only; None: until `close`, in memory."""
        self._database = Database(database, _LAYOUT)
        self._max_turns = max_turns
        self._max_bytes = max_bytes
        self._now = now

    def add(self, kind: str, turn: Turn) -> None:
        """Keep a turn. Those that it continues count as used now."""
        size = len(turn.content)
        if size > self._max_bytes:
            raise StoreError(f"A turn of {size} bytes cannot be kept; {self._max_bytes} can be.")
        with self._database.transaction() as connection:
            # Clocks stand still and run backwards; the newest turn is the newest all the same.
            (latest,) = connection.execute("SELECT max(used) FROM turns").fetchone()
            now = max(self._now(), (latest or 0.0) + _TICK_S)
            connection.execute(
                f"{_CHAIN} UPDATE turns SET used = :now WHERE number IN (SELECT number FROM chain)",
                {"kind": kind, "id": turn.previous, "now": now},
            )
            connection.execute(
                "INSERT INTO turns (kind, id, previous, used, size, content)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (kind, turn.id, turn.previous, now, size, turn.content),
            )
            self._drop_old(connection, now)

    def read(self, kind: str, id: str) -> Turn | None:
        """One turn."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT id, previous, content FROM turns WHERE kind = ? AND id = ? AND used >= ?",
                (kind, id, self._now() - MAX_AGE_S),
            ).fetchone()
        return None if row is None else Turn(*row)

    def measure(self, kind: str, id: str) -> int:
        """How many bytes the content of a turn and of all that it continues has together."""
        with self._database.transaction() as connection:
            (size,) = connection.execute(
                f"{_CHAIN} SELECT total(size) FROM chain JOIN turns USING (number)",
                {"kind": kind, "id": id},
            ).fetchone()
        return int(size)

    def read_chain(self, kind: str, id: str) -> list[Turn]:
        """A turn and all that it continues, the oldest first; nothing when there is no such turn.

        Where one of them was deleted the list begins behind it, with a turn that has a `previous`.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"{_CHAIN} SELECT id, turns.previous, content FROM chain JOIN turns USING (number)"
                " WHERE used >= :oldest ORDER BY depth DESC",
                {"kind": kind, "id": id, "oldest": self._now() - MAX_AGE_S},
            ).fetchall()
        return [Turn(*row) for row in rows]

    def delete(self, kind: str, id: str) -> bool:
        """Forget one turn, on the disk as well. False when there is none."""
        with self._database.transaction() as connection:
            deleted = connection.execute(
                "DELETE FROM turns WHERE kind = ? AND id = ?", (kind, id)
            ).rowcount
        self._database.checkpoint()
        return deleted > 0

    def close(self) -> None:
        self._database.close()

    def _drop_old(self, connection: sqlite3.Connection, now: float) -> None:
        connection.execute("DELETE FROM turns WHERE used < ?", (now - MAX_AGE_S,))
        connection.execute(
            "DELETE FROM turns WHERE number IN ("
            " SELECT number FROM ("
            "  SELECT number, row_number() OVER newest AS place, sum(size) OVER newest AS total"
            "  FROM turns WINDOW newest AS (ORDER BY used DESC, number)"
            " ) WHERE place > ? OR total > ?)",
            (self._max_turns, self._max_bytes),
        )
