"""What is already known of files, by path, size and time: a cache, rebuilt when it is lost.

It neither reads models nor decides what to do with them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lmrun.catalog.gguf_header import GgufHeader
from lmrun.errors import StoreError
from lmrun.store.atomic import write_atomic

_VERSION = 2


class IndexedFile(msgspec.Struct, frozen=True):
    """A file that was looked into: its header without the chat template, or what is wrong."""

    size: int
    mtime_ns: int
    header: GgufHeader | None
    has_chat_template: bool
    problem: str | None


class VerifiedFile(msgspec.Struct, frozen=True):
    """A file whose content had this hash."""

    size: int
    mtime_ns: int
    sha256: str


class _Content(msgspec.Struct):
    version: int = _VERSION
    files: dict[str, IndexedFile] = {}
    verified: dict[str, VerifiedFile] = {}


class CatalogIndex:
    """The index of one home; kept in memory, written by `save`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = _read(path)
        self._is_changed = False

    def find(self, path: Path, found: os.stat_result) -> IndexedFile | None:
        """What is known of the file as it is now."""
        known = self._content.files.get(str(path))
        return known if known is not None and _is_same(known, found) else None

    def remember(self, path: Path, file: IndexedFile) -> None:
        self._content.files[str(path)] = file
        self._is_changed = True

    def is_verified(self, path: Path, found: os.stat_result, sha256: str) -> bool:
        """Whether the file as it is now was seen to have that hash."""
        known = self._content.verified.get(str(path))
        return known is not None and _is_same(known, found) and known.sha256 == sha256

    def remember_verified(self, path: Path, found: os.stat_result, sha256: str) -> None:
        file = VerifiedFile(found.st_size, found.st_mtime_ns, sha256)
        self._content.verified[str(path)] = file
        self._is_changed = True

    def keep_only(self, paths: Iterable[Path]) -> None:
        """Forget the headers of all other files."""
        kept = {str(path) for path in paths}
        if gone := self._content.files.keys() - kept:
            for path in gone:
                self._content.files.pop(path, None)
            self._is_changed = True

    def save(self) -> None:
        """Write it if it has changed. A home that cannot be written only costs time later."""
        if not self._is_changed:
            return
        content = _Content(files=dict(self._content.files), verified=dict(self._content.verified))
        try:
            write_atomic(self._path, msgspec.json.encode(content))
        except StoreError:
            return
        self._is_changed = False


def _read(path: Path) -> _Content:
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_Content)
    except (OSError, msgspec.DecodeError):
        return _Content()
    return content if content.version == _VERSION else _Content()


def _is_same(known: IndexedFile | VerifiedFile, found: os.stat_result) -> bool:
    return (known.size, known.mtime_ns) == (found.st_size, found.st_mtime_ns)
