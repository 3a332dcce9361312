"""How the operating system's refusals become StoreError. It knows no file's purpose."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmrun.errors import DiskFull, StoreError

FULL_HINT = "The disk is full: free some space and try again."
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HINTS = {
    errno.ENOSPC: FULL_HINT,
    errno.EDQUOT: "The disk quota is used up: free some space and try again.",
    errno.EROFS: "The file system is read-only: set LMRUN_HOME to a writable directory.",
    errno.EACCES: "Give your user access to it, or set LMRUN_HOME to a directory of your own.",
    errno.EPERM: "Give your user access to it, or set LMRUN_HOME to a directory of your own.",
    errno.ENOTDIR: "A part of this path is a file where a directory is needed.",
    errno.EEXIST: "A file is where a directory is needed: move it away.",
    errno.EMFILE: "Too many files are open: raise `ulimit -n`.",
    errno.EIO: "The disk reports an error: check it.",
}


@contextmanager
def storing(path: Path, verb: str) -> Iterator[None]:
    """Turn an OSError inside into a StoreError: `cannot <verb> <path>: <why>`, with what to do.

    It is DiskFull where that is why.
    """
    try:
        yield
    except OSError as error:
        kind = DiskFull if is_full(error) else StoreError
        raise kind(
            f"cannot {verb} {path}: {error.strerror or error}.",
            hint=_HINTS.get(error.errno or 0),
        ) from error


def is_full(error: OSError) -> bool:
    """Whether the system had no room for what was to be written."""
    return error.errno in _FULL
