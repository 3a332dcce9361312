"""What a tool says, made fit for a model: clean text of bounded length. Pure; it knows no tool."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # colours, cursor movements
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)
"""Escape sequences of terminals, finished or not. Nothing looks back: it takes linear time."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ENDS_OF_LINE = re.compile(r"\r\n?")


def clean_output(data: bytes | str, max_bytes: int) -> tuple[str, int]:
    """`data` as a model may read it, in at most `max_bytes` of UTF-8, and how many bytes there
    were: of a longer one beginning and end, with a marker that says how many bytes are left out."""
    output = BoundedOutput(max_bytes)
    output.feed(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return output.text, output.size


class BoundedOutput:
    """Bytes that arrive piece by piece, of which beginning and end are kept. `size`: all of them.

    It holds at most three times `max_bytes`.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """The next piece."""
        self.size += len(data)
        room = self._max_bytes - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if len(data) >= self._max_bytes:
            self._tail[:] = data[len(data) - self._max_bytes :]
        else:
            self._tail += data
            # Twice over, so that a flood of small pieces is not moved at each of them.
            if len(self._tail) > 2 * self._max_bytes:
                del self._tail[: -self._max_bytes]

    @property
    def text(self) -> str:
        """What a model may read of it, in at most `max_bytes` of UTF-8, unless the marker alone
        is longer."""
        tail = self._tail[max(0, len(self._tail) - self._max_bytes) :]
        gap = self.size - len(self._head) - len(tail)
        if gap == 0:
            return _shorten(_clean(bytes(self._head + tail)), b"", 0, self._max_bytes)
        return _shorten(_clean(bytes(self._head)), _clean(bytes(tail)), gap, self._max_bytes)


def _clean(data: bytes) -> bytes:
    """UTF-8 without escape sequences and control characters, but for ends of lines and tabs."""
    text = data.decode("utf-8", "replace")
    text = _ENDS_OF_LINE.sub("\n", _ESCAPES.sub("", text))
    return _CONTROLS.sub("", text).encode("utf-8")


def _shorten(head: bytes, tail: bytes, gap: int, max_bytes: int) -> str:
    """`head`, `gap` bytes that are lost already, and `tail`, in `max_bytes`."""
    if gap == 0 and len(head) <= max_bytes:
        return head.decode("utf-8")
    left_out = len(head) + gap + len(tail)
    room = max(0, max_bytes - len(_marker(left_out)))
    begin = head[: room - room // 2]
    rest = tail if gap else head[len(begin) :]
    end = rest[max(0, len(rest) - room // 2) :]
    # A character that was cut in two is left out with the rest.
    begin = begin.decode("utf-8", "ignore").encode("utf-8")
    end = end.decode("utf-8", "ignore").encode("utf-8")
    left_out -= len(begin) + len(end)
    return (begin + _marker(left_out) + end).decode("utf-8")


def _marker(left_out: int) -> bytes:
    return f"\n[… {left_out} bytes left out …]\n".encode()
