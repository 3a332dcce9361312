"""One SQLite file, with transactions that are all or nothing. It knows no table."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from lmrun.errors import DiskFull, StoreError
from lmrun.store.failures import FULL_HINT, storing

_LEAST_BYTES = 64 * 1024
_TRIAL_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file holds: `schema`, its tables as SQL, in `version`; `pragmas` of each connection.

    `remedy`: what to do after moving a damaged file away. `upgrades`: by version, the SQL that
    makes the next one of it; every older version has one.
    """

    version: int
    schema: str
    pragmas: Sequence[str]
    remedy: str
    upgrades: Mapping[int, str] = field(default_factory=dict)


class Database:
    """One connection. Callable from any thread; every method raises StoreError."""

    def __init__(self, file: Path | None, layout: Layout) -> None:
        """Open `file`, or create it for this user only; None: in memory."""
        self._file = file
        self._layout = layout
        self._lock = threading.Lock()
        if file is not None:
            with storing(file, "create"):
                file.touch(mode=0o600)
        with self._failing():
            self._connection = sqlite3.connect(
                file or ":memory:", isolation_level=None, check_same_thread=False, timeout=5
            )
        self._close = weakref.finalize(self, self._connection.close)
        try:
            self._prepare()
        except StoreError:
            self._close()
            raise

    def __str__(self) -> str:
        return str(self._file or "memory")

    def close(self) -> None:
        """Nothing may follow."""
        with self._lock:
            self._close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, one at a time, durable when the block has ended."""
        with self._lock, self._failing():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def checkpoint(self) -> None:
        """Move everything from the write-ahead log into the file itself, as far as others allow."""
        with self._lock, self._failing():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def try_disk(self) -> None:
        """Write something beside the file, and throw it away. Raises DiskFull."""
        if self._file is not None:
            with storing(self._file, "write"), TemporaryFile(dir=self._file.parent) as trial:
                trial.write(bytes(_TRIAL_BYTES))
                trial.flush()
                os.fsync(trial.fileno())

    def _prepare(self) -> None:
        layout = self._layout
        with self._failing():
            for pragma in layout.pragmas:
                self._connection.execute(f"PRAGMA {pragma}")
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                _create(connection, layout)
            for older in range(version or layout.version, layout.version):
                _run(connection, layout.upgrades[older], older + 1)
        if version > layout.version:
            raise StoreError(
                f"{self} was written by a newer lmrun.",
                hint="Update lmrun, or set LMRUN_HOME to another directory.",
            )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._is_for_want_of_room(error):
                raise DiskFull(f"{self}: {error}.", hint=FULL_HINT) from error
            raise StoreError(f"{self}: {error}.", hint=self._explain(error)) from error

    def _is_for_want_of_room(self, error: sqlite3.Error) -> bool:
        """SQLite calls it an I/O error, too, when its index of the log has no room."""
        code = getattr(error, "sqlite_errorname", "")
        if self._file is None or not code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")):
            return bool(code == "SQLITE_FULL")
        return shutil.disk_usage(self._file.parent).free < _LEAST_BYTES

    def _explain(self, error: sqlite3.Error) -> str:
        """What to do about an SQLite error."""
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) and self._file is not None:
            return f"It is damaged: move {self._file.name} away and {self._layout.remedy}."
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return "Another process holds it: stop the other server."
        if code.startswith("SQLITE_READONLY"):
            return "Give your user write access to it."
        return "Check the disk and the directory's permissions."


def _create(connection: sqlite3.Connection, layout: Layout) -> None:
    _run(connection, layout.schema, layout.version)


def _run(connection: sqlite3.Connection, statements: str, version: int) -> None:
    # executescript would commit first; the tables and their version must appear together.
    for statement in statements.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")
