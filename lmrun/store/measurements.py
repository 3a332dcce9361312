"""What loads have cost on this machine: seconds and bytes, per files and load config.

It does not know how either is measured, nor what its keys stand for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmrun.failpoints import reach
from lmrun.store.database import Database, Layout

KEPT_MEASUREMENTS = 2000
"""Those that were renewed last; the rest is forgotten."""

_LAYOUT = Layout(
    version=1,
    # A power cut may cost the last ones, never the file.
    pragmas=("journal_mode = WAL", "synchronous = NORMAL"),
    remedy="load the models again: it only holds what that cost",
    schema="""
CREATE TABLE measurements (
    files TEXT NOT NULL,
    load TEXT NOT NULL,
    renewed TEXT NOT NULL,
    load_s REAL,
    memory_bytes INTEGER,
    PRIMARY KEY (files, load)
)
""",
)


@dataclass(frozen=True, slots=True)
class LoadKey:
    """Digests of the files that were loaded and of the settings they were loaded with."""

    files: str
    load: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """`load_s`: from the worker's start until it was ready, the last time. `memory_bytes`: the
    most of RAM that it was seen to hold. None: not measured."""

    load_s: float | None = None
    memory_bytes: int | None = None


NOTHING_MEASURED = Measurement()


def make_key(files: str, load: Mapping[str, Any]) -> LoadKey:
    """`files`: text that differs when they do. `load`: settings, as JSON can write them."""
    settings = json.dumps(load, sort_keys=True)
    return LoadKey(*(hashlib.sha256(it.encode()).hexdigest()[:32] for it in (files, settings)))


class Measurements:
    """The measurements of one home. Callable from any thread; every method raises StoreError."""

    def __init__(self, database: Path | None) -> None:
        """Open `database`, or create it for this user only; None: in memory."""
        self._database = Database(database, _LAYOUT)

    def note_load(self, key: LoadKey, seconds: float) -> None:
        """A load took so long; the newest counts, since disks and neighbours change."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO measurements (files, load, renewed, load_s) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET load_s = excluded.load_s, renewed = excluded.renewed",
                (key.files, key.load, _now(), seconds),
            )
            connection.execute(
                "DELETE FROM measurements WHERE rowid NOT IN "
                "(SELECT rowid FROM measurements ORDER BY renewed DESC LIMIT ?)",
                (KEPT_MEASUREMENTS,),
            )
            reach("measurement.seconds")

    def note_memory(self, key: LoadKey, memory_bytes: int) -> None:
        """An instance was seen to hold so much; the most counts, since pages come with use."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO measurements (files, load, renewed, memory_bytes) "
                "VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "memory_bytes = max(coalesce(memory_bytes, 0), excluded.memory_bytes), "
                "renewed = excluded.renewed",
                (key.files, key.load, _now(), memory_bytes),
            )
            reach("measurement.memory")

    def find(self, key: LoadKey) -> Measurement:
        """What is known of just this load. Seconds that were never measured are those of the same
        files with other settings, the last time: they decide most of it."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT load = ?, load_s, memory_bytes FROM measurements WHERE files = ? "
                "ORDER BY load = ? DESC, renewed DESC",
                (key.load, key.files, key.load),
            ).fetchall()
        memory_bytes = next((memory for is_same, _, memory in rows if is_same), None)
        load_s = next((seconds for _, seconds, _ in rows if seconds is not None), None)
        return Measurement(load_s, memory_bytes)

    def close(self) -> None:
        self._database.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
