"""Parked prefixes in private files, so that they outlive the process. It knows no KV cache.

A file is one line of JSON (what it holds), the state as llama.cpp wrote it, and 32 bytes of keyed
BLAKE2b over both. llama.cpp trusts a state blindly, so one whose MAC is wrong is never given to it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmrun.engines.llama_cpp.memory import State
from lmrun.engines.llama_cpp.prefixes.tree import Tokens
from lmrun.errors import StoreError
from lmrun.store.atomic import atomic_file

_FORMAT = "lmrun-prefix-1"
_ENDING = ".prefix"
_MAC_BYTES = 32
_LONGEST_HEAD = 16 * 2**20

logger = logging.getLogger(__name__)


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

    def scan(self) -> Iterator[StoredPrefix]:
        """What is stored, shorter prefixes first."""
        found = [self._read_head(path) for path in self._folder.glob(f"*{_ENDING}")]
        known = [stored for stored in found if stored is not None]
        return iter(sorted(known, key=lambda stored: (stored.begin, len(stored.tokens))))

    def save(self, namespace: Hashable, tokens: Tokens, begin: int, state: State) -> Path:
        """Write a prefix, in the background. The file's name follows from what it holds."""
        head = {
            "format": _FORMAT,
            "identity": self._identity,
            "namespace": namespace,
            "begin": begin,
            "tokens": tokens.tolist(),
            "size": state.size,
        }
        line = json.dumps(head, separators=(",", ":")).encode() + b"\n"
        name = hashlib.blake2b(line, digest_size=16).hexdigest()
        path = self._folder / f"{name}{_ENDING}"
        self._pending = [future for future in self._pending if not future.done()]
        self._pending.append(self._writer.submit(self._write, path, line, state))
        return path

    def delete(self, path: Path) -> None:
        """Remove a file, after what is being written."""
        self._writer.submit(path.unlink, missing_ok=True)

    @property
    def is_writing(self) -> bool:
        return any(not future.done() for future in self._pending)

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.shutdown()

    def _write(self, path: Path, line: bytes, state: State) -> None:
        mac = self._sign(line, state)
        try:
            with atomic_file(path) as file:
                file.write(line)
                file.write(state.data)
                file.write(mac)
        except StoreError as error:
            # A prefix that is not kept costs time, not correctness.
            logger.warning("a prefix was not saved: %s", error)

    def _read_head(self, path: Path) -> StoredPrefix | None:
        try:
            with path.open("rb") as file:
                line = file.readline(_LONGEST_HEAD)
            head = json.loads(line)
            if (head["format"], head["identity"]) != (_FORMAT, self._identity):
                raise ValueError("it belongs to another model or setting")
            return self._to_prefix(path, head, len(line))
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s is dropped: %s", path.name, error)
            path.unlink(missing_ok=True)
            return None

    def _to_prefix(self, path: Path, head: dict[str, Any], head_bytes: int) -> StoredPrefix:
        size = path.stat().st_size - head_bytes - _MAC_BYTES
        tokens = np.array(head["tokens"], dtype=np.int32)
        if size != head["size"] or not 0 <= head["begin"] < len(tokens):
            raise ValueError("it is cut off or inconsistent")
        return StoredPrefix(
            namespace=tuple((str(name), float(scale)) for name, scale in head["namespace"]),
            tokens=tokens,
            begin=head["begin"],
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
            path.unlink(missing_ok=True)
            return None
        return state

    def _sign(self, line: bytes, state: State) -> bytes:
        mac = hashlib.blake2b(line, key=self._secret, digest_size=_MAC_BYTES)
        mac.update(state.data)
        return mac.digest()
