"""One member of a wheel, read as a stream and checked against the wheel's RECORD.

Nothing is ever unpacked by a name from the archive. It does not know where the wheel came from.
"""

from __future__ import annotations

import contextlib
import hashlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lmrun.catalog.packages.record import RecordedFile, describe_absence, parse_record
from lmrun.errors import FetchFailed

MAX_MEMBERS = 100_000
MAX_RECORD_BYTES = 16 * 2**20
MAX_RATIO = 1100
"""Deflate cannot pack better than 1032 to 1; what claims more is a lie."""
_CHUNK_BYTES = 2**20
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
)
"""What `zipfile` raises for archives that are none."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A member that may be read. `sha256`: what its content must have. `size` in bytes."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    sha256: str

    @property
    def size(self) -> int:
        return self.info.file_size

    @property
    def modified_ns(self) -> int:
        """When it was last changed, as the archive says, in nanoseconds since 1970. An archive
        has no time zone: UTC is as good as any, and the same everywhere."""
        try:
            said = datetime(*self.info.date_time, tzinfo=UTC)
        except ValueError:
            return 0
        return int(said.timestamp()) * 10**9

    def chunks(self) -> Iterator[bytes]:
        """The content, at most a megabyte at a time. Raises FetchFailed when it is wrong."""
        digest, size = hashlib.sha256(), 0
        with _reading(self.archive.filename or ""), self.archive.open(self.info) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > self.size:
                    raise FetchFailed(f"{self.info.filename} is longer than the wheel declares.")
                digest.update(chunk)
                yield chunk
        if size != self.size or digest.hexdigest() != self.sha256:
            raise FetchFailed(
                f"{self.info.filename} does not have the hash that its wheel records.",
                hint="The package is damaged or was tampered with; try again, then report it.",
            )


@contextlib.contextmanager
def open_member(wheel: Path, name: str) -> Iterator[WheelMember]:
    """The member `name` of `wheel`. Raises FetchFailed when it may not or cannot be read."""
    with contextlib.ExitStack() as stack:
        with _reading(str(wheel)):
            archive = stack.enter_context(zipfile.ZipFile(wheel))
            member = _select(archive, wheel, name)
        yield member


def _select(archive: zipfile.ZipFile, wheel: Path, name: str) -> WheelMember:
    if len(archive.infolist()) > MAX_MEMBERS:
        raise FetchFailed(f"{wheel.name} has more than {MAX_MEMBERS} files.")
    info = _find(archive, wheel, name)
    _check(info)
    recorded = _read_record(archive, wheel).get(name, RecordedFile(None, None))
    if recorded.sha256 is None or recorded.size not in (None, info.file_size):
        raise FetchFailed(f"{wheel.name} records no usable hash and size for {name}.")
    return WheelMember(archive, info, recorded.sha256)


def _find(archive: zipfile.ZipFile, wheel: Path, name: str) -> zipfile.ZipInfo:
    found = [info for info in archive.infolist() if info.filename == name]
    if not found:
        raise FetchFailed(
            f"{wheel.name} has no file {name}.",
            hint=describe_absence(name, archive.namelist()),
        )
    if len(found) > 1:
        raise FetchFailed(f"{wheel.name} has {len(found)} files named {name}.")
    return found[0]


def _check(info: zipfile.ZipInfo) -> None:
    """Refuse what is no plain, honest file."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    faults = {
        "a directory": info.is_dir(),
        "a symbolic link or device": kind not in (0, stat.S_IFREG),
        "encrypted": bool(info.flag_bits & 1),
        "packed with an unsupported method": info.compress_type not in _METHODS,
        "impossibly well packed": info.file_size > (info.compress_size + 1) * MAX_RATIO,
    }
    for fault, is_so in faults.items():
        if is_so:
            raise FetchFailed(f"{info.filename} in the wheel is {fault}.")


def _read_record(archive: zipfile.ZipFile, wheel: Path) -> dict[str, RecordedFile]:
    found = [
        info
        for info in archive.infolist()
        if info.filename.endswith(".dist-info/RECORD") and info.filename.count("/") == 1
    ]
    if len(found) != 1 or found[0].file_size > MAX_RECORD_BYTES:
        raise FetchFailed(f"{wheel.name} has no usable RECORD, so nothing in it can be verified.")
    _check(found[0])
    with archive.open(found[0]) as stream:
        return parse_record(stream.read(MAX_RECORD_BYTES).decode("utf-8", "replace"))


@contextlib.contextmanager
def _reading(wheel: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise FetchFailed(
            f"{Path(wheel).name} is not a readable wheel: {error}.", hint="Try again."
        ) from error
