"""Locks between processes, held by the kernel: a dead holder holds nothing.

They know neither what they protect nor how long it takes.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from lmrun.errors import StoreError
from lmrun.store.failures import storing


class FileLock:
    """An exclusive lock on `path`, which is created and then stays. Not reentrant."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it. Raises StoreError when the file cannot be locked."""
        with storing(self.path, "lock"):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except OSError:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        self._write_pid(f"{os.getpid()}\n")
        return True

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        if self._descriptor is not None:
            self._write_pid("")
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """The pid written by whoever holds the lock, None when nobody says so."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return None

    def _write_pid(self, text: str) -> None:
        if self._descriptor is not None:
            with storing(self.path, "write"):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, text.encode(), 0)


class ServerLock:
    """At most one server per home: two would fight over its database and its socket."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> None:
        """Raises StoreError, naming the other server's pid, when one runs already."""
        if not self._lock.try_acquire():
            pid = self._lock.holder()
            raise StoreError(
                f"another server{f' (pid {pid})' if pid else ''} uses {self._lock.path.parent}.",
                hint="Stop it with `lmrun down`, or set LMRUN_HOME to another directory.",
            )

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> ServerLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
