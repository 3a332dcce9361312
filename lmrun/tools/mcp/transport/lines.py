"""Lines out of chunks, and the end of a stream, in bounded memory. Pure; it knows no protocol."""

from __future__ import annotations

from dataclasses import dataclass

KEPT_OF_TOO_LONG = 256
"""Bytes of a line's beginning that are kept where the line is not."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line that was skipped. `head`: its first bytes; `size`: all of them, counted."""

    head: bytes
    size: int


class Lines:
    """Splits chunks into lines of at most `limit` bytes; a longer one is never held as a whole."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._skipping: bytes | None = None
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes | TooLong]:
        """The lines that `chunk` ends, in their order, without their line breaks."""
        *ends, rest = chunk.split(b"\n")
        lines: list[bytes | TooLong] = []
        for end in ends:
            self._extend(end)
            lines.append(self._finish())
        self._extend(rest)
        return lines

    def _extend(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._skipping is None:
            self._begun += piece
            if self._size > self._limit:
                self._skipping = bytes(self._begun[:KEPT_OF_TOO_LONG])
                self._begun = bytearray()

    def _finish(self) -> bytes | TooLong:
        skipped, size, line = self._skipping, self._size, bytes(self._begun)
        self._begun, self._skipping, self._size = bytearray(), None, 0
        return line if skipped is None else TooLong(skipped, size)


class Tail:
    """The last `limit` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.size = 0
        """Bytes of the whole stream so far."""

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        self.size += len(chunk)
        self._kept += chunk[-self._limit :]
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def text(self) -> str:
        """What is kept, as text; what is no UTF-8 is replaced."""
        return self._kept[-self._limit :].decode("utf-8", "replace")
