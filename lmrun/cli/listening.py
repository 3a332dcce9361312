"""Events that come while somebody types: read by a thread of their own, so that a question can be
withdrawn. It knows no event and no question.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """`error`: what ended the events; None: there were no more."""

    error: BaseException | None


class Listening(Generic[T]):
    """`events`, in their order; iterating raises what they raise. Readable, as `select` has it,
    when more may have come. To be used in a `with` block."""

    def __init__(self, events: Iterable[T]) -> None:
        self._came: SimpleQueue[T | _End] = SimpleQueue()
        self._waiting: deque[T | _End] = deque()
        self._bell, self._rope = socket.socketpair()
        for end in (self._bell, self._rope):
            end.setblocking(False)
        # What it waits for may never come: it ends with the events, or with the process.
        threading.Thread(target=self._read, args=(events,), daemon=True).start()

    def __iter__(self) -> Listening[T]:
        return self

    def __next__(self) -> T:
        event = self._waiting.popleft() if self._waiting else self._came.get()
        if isinstance(event, _End):
            self._waiting.appendleft(event)
            raise event.error or StopIteration
        return event

    def fileno(self) -> int:
        return self._bell.fileno()

    def look(self) -> tuple[Sequence[T], bool]:
        """What has come and was not taken yet, which stays there; and whether that is all."""
        try:
            while self._bell.recv(4096):
                pass
        except BlockingIOError:
            pass
        try:
            while True:
                self._waiting.append(self._came.get_nowait())
        except Empty:
            pass
        found = [it for it in self._waiting if not isinstance(it, _End)]
        return found, len(found) < len(self._waiting)

    def __enter__(self) -> Listening[T]:
        return self

    def __exit__(self, *failure: object) -> None:
        """Nobody listens any more; the events may go on."""
        self._bell.close()
        self._rope.close()

    def _read(self, events: Iterable[T]) -> None:
        error: BaseException | None = None
        try:
            for event in events:
                self._put(event)
        except BaseException as failure:  # Raised where the events are taken.
            error = failure
        self._put(_End(error))

    def _put(self, event: T | _End) -> None:
        self._came.put(event)
        try:
            self._rope.send(b".")
        except OSError:
            # It rings already, or nobody listens.
            return
