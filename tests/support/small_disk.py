"""A file system with little room, for tests of what happens when it is full. Linux only.

It is mounted in a namespace of its own, which needs no privileges on most systems, and reached from
outside through /proc. Nothing of it is left when its one process ends.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory

_MEGABYTE = 2**20
_SPACES = ("--user", "--mount")
_HOLDER = """
import os, subprocess, sys
options = f"mode=0700,size={sys.argv[2]}"
subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", sys.argv[1]], check=True)
print("mounted", flush=True)
sys.stdin.read()
"""


class SmallDisk:
    """`path`: its top folder as seen from outside, `inner` as it is called by what runs inside.
    `enter`: a command that runs another one inside."""

    def __init__(self, holder: int, inner: Path) -> None:
        self.inner = inner
        self.path = Path(f"/proc/{holder}/root{inner}")
        self.enter = ("nsenter", f"--target={holder}", *_SPACES, "--preserve-credentials", "--")
        self._filler = self.path / "filler"

    def fill(self, *, but: int = 0) -> None:
        """Take all room, `but` for so many bytes."""
        with open(self._filler, "ab", buffering=0) as file:
            for size in (_MEGABYTE, 4096):
                _write_until_full(file, bytes(size))
            file.truncate(file.tell() - but)

    def make_room(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink()


def _write_until_full(file: FileIO, block: bytes) -> None:
    with suppress(OSError):
        while file.write(block) == len(block):
            pass


@contextmanager
def small_disk(size: int = 100 * _MEGABYTE) -> Iterator[SmallDisk]:
    """A disk of `size` bytes. Raises OSError where the system does not allow it."""
    # A short path: sockets lie there.
    with TemporaryDirectory(prefix="lmrun-disk-") as folder, _holding(folder, size) as holder:
        yield SmallDisk(holder, Path(folder))


@contextmanager
def _holding(folder: str, size: int) -> Iterator[int]:
    """The process that keeps the disk at `folder`."""
    command = ["unshare", "--map-root-user", *_SPACES, "--", sys.executable, "-c", _HOLDER]
    command += [folder, str(size)]
    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "mounted\n":
            raise OSError(f"no small disk: {holder.stderr.read()}")
        try:
            yield holder.pid
        finally:
            holder.kill()


@functools.cache
def can_mount() -> bool:
    """Whether this system lets its users have a file system of their own."""
    try:
        with small_disk(_MEGABYTE):
            return True
    except OSError:
        return False
