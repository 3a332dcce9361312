"""Reading the files of a profile, with limits. It knows no YAML and no field."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

MAX_FILE_BYTES = 1_000_000
MAX_REFERENCED_BYTES = 64_000

ReadText = Callable[[Path], str]
"""A file's whole text. Raises OSError or Unreadable."""


class Unreadable(Exception):
    """A file that is there but is not acceptable text; `line` and `column` where known, else 0."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def read_text(path: Path) -> str:
    """A regular UTF-8 file of at most 1 MB, from the disk. Raises OSError or Unreadable."""
    return decode(_read_regular(path, MAX_FILE_BYTES, may_be_shared=True))


def read_secret_text(path: Path) -> str:
    """A file of at most 64 kB that only its owner can read. Raises OSError or Unreadable."""
    return decode(_read_regular(path, MAX_REFERENCED_BYTES, may_be_shared=False))


def decode(content: bytes) -> str:
    """UTF-8, strictly. Raises Unreadable with the place of the first wrong byte."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        raise Unreadable(
            f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8", line, column
        ) from None


def explain(error: OSError | Unreadable) -> str:
    """Why a file could not be read, in plain words."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError):
        return f"cannot be read: {(error.strerror or type(error).__name__).lower()}"
    return str(error)


def _read_regular(path: Path, limit: int, *, may_be_shared: bool) -> bytes:
    # Without O_NONBLOCK, opening a named pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_mode(os.fstat(descriptor).st_mode, may_be_shared=may_be_shared)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise Unreadable(f"is larger than {limit // 1000} kB")
    return content


def _check_mode(mode: int, *, may_be_shared: bool) -> None:
    if not stat.S_ISREG(mode):
        raise Unreadable("is not a regular file")
    if not may_be_shared and mode & 0o077:
        raise Unreadable(
            f"others may read this file (mode {stat.S_IMODE(mode):04o}); "
            "a secret's file needs chmod 600"
        )
