"""The audit log: a JSON object per line for every decision and for every call that was run. It
decides nothing and knows no argument, only digests.

A line is handed to the system at once and not synced to the disk: a crash of lmrun loses none, a
power cut may lose the last ones. An fsync per line would cost each call several milliseconds.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from lmrun.profile.tooling.policy import Decision
from lmrun.tools.policy.gate import Reply
from lmrun.tools.tool import Caller, ErrorKind

MAX_BYTES = 64 * 2**20
"""Of one file; the one before it is kept as `audit.jsonl.1`."""

_MAX_NAME_LENGTH = 512
_MODE = 0o600

log = logging.getLogger("lmrun.tools")

Answer = Reply | Literal["nobody", "no answer", "remembered"]
"""`nobody`: there was nobody to ask; `no answer`: not in time, or the call was given up;
`remembered`: agreed to earlier."""


@dataclass(frozen=True, slots=True)
class AuditedCall:
    """What every line says. `arguments`: their SHA-256, None where they cannot be written down."""

    caller: Caller
    call: str
    tool: str
    arguments: str | None


@dataclass(frozen=True, slots=True)
class Decided:
    """`decision`: what the policy says. `answer`: of whoever was asked. `rule`: the index of the
    rule that decided."""

    decision: Decision
    is_allowed: bool
    reason: str
    rule: int | None = None
    answer: Answer | None = None
    is_tainted: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """`error`: None where all went well; `cancelled` where there is no result. `bytes`: of the
    result, before it was shortened."""

    error: ErrorKind | Literal["cancelled"] | None
    bytes: int
    seconds: float


class AuditLog:
    """Appends to one file, which only this user can read. Callable from any thread; nothing is
    raised: what cannot be written is counted, and said once in the server's log."""

    def __init__(self, file: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._size = 0
        self._is_torn = False
        self._lost = 0

    def note_decision(self, call: AuditedCall, decided: Decided) -> None:
        """What became of the wish, before anything is run."""
        self._write(
            _head("decision", call)
            | {
                "decision": decided.decision,
                "allowed": decided.is_allowed,
                "answer": decided.answer,
                "reason": decided.reason or None,
                "rule": decided.rule,
                "tainted": decided.is_tainted,
            }
        )

    def note_end(self, call: AuditedCall, ended: Ended) -> None:
        """What became of a call that was allowed."""
        self._write(
            _head("result", call)
            | {
                "error": ended.error,
                "bytes": ended.bytes,
                "ms": round(ended.seconds * 1000, 3),
            }
        )

    def close(self) -> None:
        """Nothing may follow."""
        with self._lock:
            self._shut()

    def _write(self, content: dict[str, object]) -> None:
        # Names may hold halves of surrogate pairs, which only escapes can write.
        line = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                self._note_loss(error)
            else:
                self._note_recovery()

    def _append(self, line: bytes) -> None:
        descriptor = self._find_descriptor(len(line))
        # One write: what others append stands between lines, never within one.
        text = b"\n" + line if self._is_torn else line
        written = os.write(descriptor, text)
        self._size += written
        self._is_torn = written < len(text)
        if self._is_torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _find_descriptor(self, needed: int) -> int:
        if self._descriptor is not None:
            is_full = self._size > 0 and self._size + needed > self._max_bytes
            if is_full or os.fstat(self._descriptor).st_nlink == 0:
                self._put_aside()
        return self._descriptor if self._descriptor is not None else self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._file, flags, _MODE)
        self._descriptor = descriptor
        os.fchmod(descriptor, _MODE)
        self._size = os.fstat(descriptor).st_size
        self._is_torn = self._size > 0 and not _ends_a_line(self._file)
        return descriptor

    def _put_aside(self) -> None:
        # Where it cannot be renamed it grows on, and where somebody removed it there is a new one.
        with suppress(OSError):
            os.replace(self._file, self._file.with_name(f"{self._file.name}.1"))
        self._shut()

    def _shut(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _note_loss(self, error: OSError) -> None:
        if not self._lost:
            log.error("%s cannot be written: %s; calls go on", self._file, error.strerror)
        self._lost += 1

    def _note_recovery(self) -> None:
        if self._lost:
            log.warning("%s is written again; it lacks %d lines", self._file, self._lost)
            self._lost = 0


def _head(event: str, call: AuditedCall) -> dict[str, object]:
    caller = call.caller
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "door": caller.door,
        "key": caller.key,
        "agent": caller.agent,
        "model": caller.model,
        "run": caller.run,
        # Models invent it, and servers what their tools are called.
        "call": call.call[:_MAX_NAME_LENGTH],
        "tool": call.tool[:_MAX_NAME_LENGTH],
        "arguments": call.arguments,
    }


def _ends_a_line(file: Path) -> bool:
    with open(file, "rb") as content:
        content.seek(-1, os.SEEK_END)
        return content.read(1) == b"\n"
