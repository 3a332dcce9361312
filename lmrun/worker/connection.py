"""Frames over a stream of bytes: cutting and decoding, and the worker's blocking end.

It knows neither what frames mean nor which process it runs in.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Any, Generic, TypeVar

import msgspec

from lmrun.worker.frames import (
    MAX_BYTES_TO_WORKER,
    MAX_FRAME_BYTES,
    FromWorker,
    ToWorker,
    encode,
)

_LENGTH = struct.Struct(">I")
_READ_BYTES = 64 * 2**10

Frame = TypeVar("Frame")


class FrameBuffer(Generic[Frame]):
    """Cuts a stream of bytes into frames of the given types, whatever pieces it arrives in.

    `limit`: bytes of the longest frame that is taken.
    """

    def __init__(self, frame_types: Any, limit: int = MAX_FRAME_BYTES) -> None:
        self._limit = limit
        self._decode = msgspec.msgpack.Decoder(frame_types).decode
        self._bytes = bytearray()
        self._needed = _LENGTH.size

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        """The frames that `data` completes.

        Raises ValueError for a frame that is too long or fits none of the types. The length is
        judged before the body arrives.
        """
        self._bytes += data
        if len(self._bytes) < self._needed:
            return []
        frames: list[Frame] = []
        start = 0
        with memoryview(self._bytes) as view:
            while (end := self._end_of_frame(view, start)) <= len(view):
                frames.append(self._parse(view[start + _LENGTH.size : end]))
                start = end
        del self._bytes[:start]
        self._needed = end - start
        return frames

    def _end_of_frame(self, view: memoryview, start: int) -> int:
        body = start + _LENGTH.size
        if len(view) < body:
            return body
        (length,) = _LENGTH.unpack_from(view, start)
        if length > self._limit:
            raise ValueError(f"a frame of {length} bytes is over the limit of {self._limit}")
        return body + int(length)

    def _parse(self, body: memoryview) -> Frame:
        try:
            frame: Frame = self._decode(body)
        except msgspec.MsgspecError as error:
            raise ValueError(f"a frame does not fit: {error}") from None
        return frame


class Connection:
    """The worker's end: one thread reads, one thread writes."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer: FrameBuffer[ToWorker] = FrameBuffer(ToWorker, MAX_BYTES_TO_WORKER)
        self._frames: deque[ToWorker] = deque()

    def read(self) -> ToWorker | None:
        """The next frame; None once the other side has closed.

        Raises ValueError for a frame that does not fit.
        """
        while not self._frames:
            data = self._receive()
            if not data:
                return None
            self._frames.extend(self._buffer.feed(data))
        return self._frames.popleft()

    def write(self, frame: FromWorker) -> None:
        """Send one frame. Raises OSError when the other side has closed."""
        self._socket.sendall(encode(frame))

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_READ_BYTES)
        except ConnectionError:
            return b""
