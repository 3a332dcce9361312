"""Parked prefixes in private files, so that they outlive the process. It knows no KV cache.

A file is one line of JSON (what it holds), the state as llama.cpp wrote it, and 32 bytes of keyed
BLAKE2b over both. llama.cpp trusts a state blindly, so one whose MAC is wrong is never given to it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import numpy as np

from lmrun.engines.llama_cpp.memory import State
from lmrun.engines.llama_cpp.prefixes.tree import Tokens
from lmrun.errors import StoreError
from lmrun.store.atomic import atomic_file

_FORMAT = "lmrun-prefix-1"
_ENDING = ".prefix"
_MAC_BYTES = 32
_LONGEST_HEAD = 16 * 2**20
_PIECE_BYTES = 8 * 2**20

logger = logging.getLogger(__name__)


class _Head(msgspec.Struct, frozen=True):
    """The first line of a file: what it holds, and how many bytes of it."""

    format: str
    identity: str
    namespace: tuple[tuple[str, float], ...]
    begin: Annotated[int, msgspec.Meta(ge=0)]
    tokens: list[Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]]
    size: Annotated[int, msgspec.Meta(gt=0)]


@dataclass(frozen=True, slots=True)
class StoredPrefix:
    """What a file says it holds: the state of `tokens[begin:]`. `read` gives it, or None when the
    file is damaged, which is deleted then."""

    namespace: Hashable
    tokens: Tokens
    begin: int
    size: int
    path: Path
    read: Callable[[], State | None]


class PrefixFiles:
    """The prefixes of one model in `folder`. `identity`: all that a state depends on, besides
    tokens and adapters; files of another identity are deleted."""

    def __init__(self, folder: Path, secret: bytes, identity: str) -> None:
        self._folder = folder
        self._secret = secret
        self._identity = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefixes")
        self._pending: list[Future[None]] = []
        self._is_given_up = False

    def scan(self) -> list[StoredPrefix]:
        """What is stored, shorter prefixes first; what a process that was killed left is removed.

        A folder that cannot be read holds nothing.
        """
        try:
            for unfinished in self._folder.glob(f".*{_ENDING}.*.part"):
                _remove(unfinished)
            found = [self._read_head(path) for path in self._folder.glob(f"*{_ENDING}")]
        except OSError as error:
            logger.warning("kept prefixes cannot be read: %s", error)
            return []
        known = [stored for stored in found if stored is not None]
        return sorted(known, key=lambda stored: (stored.begin, len(stored.tokens)))

    def save(self, namespace: Hashable, tokens: Tokens, begin: int, state: State) -> Path:
        """Write a prefix, in the background. The file's name follows from what it holds."""
        what = repr((self._identity, namespace, begin)).encode() + tokens.tobytes()
        name = hashlib.blake2b(what, digest_size=16).hexdigest()
        path = self._folder / f"{name}{_ENDING}"
        job = self._writer.submit(self._write, path, namespace, tokens, begin, state)
        self._pending.append(job)
        return path

    def delete(self, path: Path) -> None:
        """Remove a file, after what is being written."""
        self._writer.submit(_remove, path)

    @property
    def is_writing(self) -> bool:
        self._pending = [future for future in self._pending if not future.done()]
        return bool(self._pending)

    def close(self, timeout_s: float) -> None:
        """Wait for what is being written, at most `timeout_s`; the rest is given up then.

        Twice is once.
        """
        if self._is_given_up:
            return
        unwritten = wait(self._pending, timeout_s).not_done
        if unwritten:
            self._is_given_up = True
            logger.warning("%d prefixes were not saved: they took too long", len(unwritten))
        self._writer.shutdown(wait=not unwritten, cancel_futures=True)

    def _write(
        self, path: Path, namespace: Hashable, tokens: Tokens, begin: int, state: State
    ) -> None:
        head = {
            "format": _FORMAT,
            "identity": self._identity,
            "namespace": namespace,
            "begin": begin,
            "tokens": tokens.tolist(),
            "size": state.size,
        }
        line = msgspec.json.encode(head) + b"\n"
        try:
            with atomic_file(path) as file:
                file.write(line)
                self._write_state(file, state)
                file.write(self._sign(line, state))
        except StoreError as error:
            # A prefix that is not kept costs time, not correctness.
            logger.warning("a prefix was not saved: %s", error)

    def _write_state(self, file: BinaryIO, state: State) -> None:
        """Raises StoreError, piece by piece, as soon as nobody waits for it any more."""
        for begin in range(0, state.size, _PIECE_BYTES):
            if self._is_given_up:
                raise StoreError("it took too long.")
            file.write(state[begin : begin + _PIECE_BYTES].data)

    def _read_head(self, path: Path) -> StoredPrefix | None:
        try:
            with path.open("rb") as file:
                line = file.readline(_LONGEST_HEAD)
            head = msgspec.json.decode(line, type=_Head)
            if (head.format, head.identity) != (_FORMAT, self._identity):
                raise ValueError("it belongs to another model or setting")
            return self._to_prefix(path, head, len(line))
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            logger.warning("%s is dropped: %s", path.name, error)
            _remove(path)
            return None

    def _to_prefix(self, path: Path, head: _Head, head_bytes: int) -> StoredPrefix:
        size = path.stat().st_size - head_bytes - _MAC_BYTES
        if size != head.size or not head.begin < len(head.tokens):
            raise ValueError("it is cut off or inconsistent")
        return StoredPrefix(
            namespace=head.namespace,
            tokens=np.array(head.tokens, dtype=np.int32),
            begin=head.begin,
            size=size,
            path=path,
            read=lambda: self._read(path, head_bytes, size),
        )

    def _read(self, path: Path, head_bytes: int, size: int) -> State | None:
        try:
            content = np.fromfile(path, dtype=np.uint8)
        except OSError:
            return None
        head, state = content[:head_bytes], content[head_bytes : head_bytes + size]
        if content[head_bytes + size :].tobytes() != self._sign(head.tobytes(), state):
            logger.warning("%s is damaged: it is dropped and computed again", path.name)
            _remove(path)
            return None
        return state

    def _sign(self, line: bytes, state: State) -> bytes:
        mac = hashlib.blake2b(line, key=self._secret, digest_size=_MAC_BYTES)
        mac.update(state.data)
        return mac.digest()


def _remove(path: Path) -> None:
    """Delete a file; one that cannot be deleted is only in the way."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be deleted: %s", path.name, error)
