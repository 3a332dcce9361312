"""Files that are there completely or not at all, also after a crash. It knows no content."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lmrun.store.failures import storing

MODEL_MODE = 0o444
"""Model files are never written again: a change under a memory map kills the process using it."""


@contextmanager
def atomic_file(
    target: Path, *, mode: int = 0o600, scratch: Path | None = None
) -> Iterator[BinaryIO]:
    """A file to write, which becomes `target` when the block ends without an exception.

    temp → fsync → rename → fsync of the directory. `scratch`: where the unfinished file lies (on
    the same file system; the target's own directory by default). Raises StoreError.
    """
    with storing(target, "write"):
        folder = scratch or target.parent
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=folder)
        unfinished = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            os.replace(unfinished, target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def write_atomic(target: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `target` by `content`, or leave it as it was and raise StoreError."""
    with atomic_file(target, mode=mode) as file:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
