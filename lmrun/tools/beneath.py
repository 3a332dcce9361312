"""Files beneath a directory, for tools that are given paths by a model: whatever the path says, and
whoever changes links meanwhile, nothing outside is opened. It knows no tool and no policy.

On Linux the kernel itself resolves the path (openat2): links may lead elsewhere inside. Where it
cannot, the path is walked component by component, and no link is followed at all. A hard link is
the file itself, wherever else that has a name.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, Literal

from lmrun.errors import PathRefused

AnyPath = str | os.PathLike[str]

_OPENAT2 = 437
"""Its number is the same on every architecture that lmrun runs on."""
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_MAX_TRIES = 100
_MODE = 0o666
# Opening a FIFO must not wait for its other end, nor a terminal become ours.
_ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_DIRECTORY = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)


class _How(ctypes.Structure):
    """`struct open_how` of the kernel."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """What a directory has. `kind` is that of the entry itself: where a link leads is not looked
    at. `size_bytes`: of a file, else 0."""

    name: str
    kind: Literal["file", "directory", "link", "other"]
    size_bytes: int


def open_beneath(root: AnyPath, path: AnyPath, mode: str = "r") -> IO[Any]:
    """The file at `path` beneath the directory `root`, opened as `open` does; text is UTF-8.

    `path` is relative to `root`, or absolute and inside. Raises PathRefused for whatever leads out
    of it, and for what is no regular file: a FIFO, a device, a socket; OSError as `open` does.
    """

    def opener(_: str, flags: int) -> int:
        return _open_file(root, path, flags)

    encoding = None if "b" in mode else "utf-8"
    name = os.path.join(root, _find_relative(root, path))
    return open(name, mode, encoding=encoding, opener=opener)


def create_beneath(root: AnyPath, path: AnyPath, content: str | bytes) -> None:
    """Write `content` to a new file at `path` beneath `root`. Raises FileExistsError where there is
    something already, FileNotFoundError where its directory is missing, and what `open_beneath`
    raises."""
    with open_beneath(root, path, "xb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def list_beneath(root: AnyPath, path: AnyPath = ".") -> list[Entry]:
    """What is in the directory at `path` beneath `root`, by name. Raises PathRefused for whatever
    leads out of it, and OSError as `os.scandir` does."""
    directory = _open(root, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(directory) as found:
            entries = [entry for it in found if (entry := _look_at(it)) is not None]
    finally:
        os.close(directory)
    return sorted(entries, key=lambda entry: entry.name)


def _look_at(found: os.DirEntry[str]) -> Entry | None:
    """None where it is gone by now."""
    try:
        state = found.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(state.st_mode):
        return Entry(found.name, "file", state.st_size)
    if stat.S_ISDIR(state.st_mode):
        return Entry(found.name, "directory", 0)
    return Entry(found.name, "link" if stat.S_ISLNK(state.st_mode) else "other", 0)


def _open_file(root: AnyPath, path: AnyPath, flags: int) -> int:
    try:
        file = _open(root, path, flags)
    except OSError as error:
        # The other end of a FIFO or a socket is not there.
        if error.errno == errno.ENXIO:
            raise _no_file(path) from None
        raise
    kind = os.fstat(file).st_mode
    if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
        return file  # of a directory, `open` says that it is one
    os.close(file)
    raise _no_file(path)


def _open(root: AnyPath, path: AnyPath, flags: int) -> int:
    """A descriptor. Raises PathRefused and OSError."""
    relative = _find_relative(root, path)
    # The directory that `root` means now: what becomes of its name later does not matter.
    directory = os.open(root, _DIRECTORY | os.O_CLOEXEC)
    try:
        resolve = _resolve if _has_openat2() else _walk
        return resolve(directory, relative, flags | _ALWAYS)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ELOOP):
            raise _leads_out(root, path) from None
        raise OSError(error.errno, os.strerror(error.errno or 0), os.fspath(path)) from None
    finally:
        os.close(directory)


def _find_relative(root: AnyPath, path: AnyPath) -> PurePath:
    """`path` from `root` on, without `..`. Names only: no file is looked at, but for `root`."""
    given = os.fspath(path)
    if "\0" in given:
        raise PathRefused(f"The path {given!r} holds a NUL character.")
    base = os.path.abspath(root)
    meant = PurePath(os.path.normpath(os.path.join(base, given)))
    for start in (base, os.path.realpath(root)):
        if meant.is_relative_to(start):
            return meant.relative_to(start)
    raise _leads_out(root, path)


@functools.cache
def _has_openat2() -> bool:
    """Whether the kernel has it, and lets this process use it."""
    if sys.platform != "linux":
        return False
    try:
        os.close(_openat2(-1, b"/", _How(_DIRECTORY | os.O_CLOEXEC, 0, 0)))
    except OSError:
        return False
    return True


def _resolve(directory: int, relative: PurePath, flags: int) -> int:
    how = _How(
        flags,
        _MODE if flags & os.O_CREAT else 0,
        _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS,
    )
    for _ in range(_MAX_TRIES):
        try:
            return _openat2(directory, os.fsencode(relative), how)
        except BlockingIOError:
            # Something was renamed meanwhile, and the kernel does not vouch for `..` in a link.
            continue
    raise PathRefused(f"The way to {str(relative)!r} changes all the time.")


def _openat2(directory: int, path: bytes, how: _How) -> int:
    """The system call, for which the C library has no function. Raises OSError."""
    while True:
        file = _libc().syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(directory),
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if file >= 0:
            return int(file)
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _walk(directory: int, relative: PurePath, flags: int) -> int:
    """As `_resolve`, one component after the other; ELOOP where one is a link."""
    *parents, name = relative.parts or (".",)
    here = os.dup(directory)
    try:
        for parent in parents:
            below = _enter(here, parent, _DIRECTORY | os.O_CLOEXEC)
            os.close(here)
            here = below
        return _enter(here, name, flags)
    finally:
        os.close(here)


def _enter(directory: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, _MODE, dir_fd=directory)
    except NotADirectoryError:
        # What Linux says of a link where a directory is wanted; it may be none any more.
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode) or stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


def _leads_out(root: AnyPath, path: AnyPath) -> PathRefused:
    where = Path(os.path.abspath(root))
    return PathRefused(
        f"The path {os.fspath(path)!r} leads out of {where}.",
        hint="Paths are relative to that directory, and links may not lead out of it.",
    )


def _no_file(path: AnyPath) -> PathRefused:
    return PathRefused(
        f"{os.fspath(path)!r} is no regular file.", hint="FIFOs, devices and sockets stay closed."
    )
