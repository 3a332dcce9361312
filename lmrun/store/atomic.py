"""Files that are there completely or not at all, also after a crash. It knows no content."""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lmrun.failpoints import reach
from lmrun.store.failures import storing

MODEL_MODE = 0o444
"""Model files are never written again: a change under a memory map kills the process using it."""

_SUFFIX = ".part"


@contextmanager
def atomic_file(
    target: Path, *, mode: int = 0o600, scratch: Path | None = None
) -> Iterator[BinaryIO]:
    """A file to write, which becomes `target` when the block ends without an exception.

    temp → fsync → rename → fsync of the directory. `scratch`: where the unfinished file lies (on
    the same file system; the target's own directory by default). What a process that was killed has
    left there of the same target is removed. Raises StoreError.
    """
    with storing(target, "write"):
        folder = scratch or target.parent
        _remove_abandoned(folder, target.name)
        descriptor, unfinished = _create(folder, target.name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                reach("file.written")
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
                reach("file.synced")
                os.replace(unfinished, target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        reach("file.replaced")
        _sync_folder(target.parent)


def write_atomic(target: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `target` by `content`, or leave it as it was and raise StoreError."""
    with atomic_file(target, mode=mode) as file:
        file.write(content)


def _create(folder: Path, name: str) -> tuple[int, Path]:
    """A new file, open and locked for as long as its writer lives."""
    while True:
        descriptor, path = tempfile.mkstemp(prefix=f".{name}.", suffix=_SUFFIX, dir=folder)
        with suppress(OSError):
            # Some network file systems have no locks.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(path)
        # Somebody took it for abandoned before it was locked.
        os.close(descriptor)


def _remove_abandoned(folder: Path, name: str) -> None:
    """Unfinished files of that name whose writer is dead: nobody holds their lock."""
    for path in folder.glob(f".{glob.escape(name)}.*{_SUFFIX}"):
        with suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
