"""The server's end of a worker's socket. It knows no instance and no stream.

A frame costs the event loop as little as possible: one per step of every model passes here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from lmrun.worker.connection import FrameBuffer
from lmrun.worker.frames import FromWorker, ToWorker, encode

_READ_BYTES = 64 * 2**10


class WorkerConnection(asyncio.BufferedProtocol):
    """Hands each frame to `on_frame`. `lost` is done once the socket is closed.

    `fault`: what was wrong with a frame that did not fit; the connection is closed then.

    Reads go into one buffer that stays: a plain protocol makes 256 KiB of fresh memory for every
    read, which was two thirds of what a token cost the server.
    """

    def __init__(self, on_frame: Callable[[FromWorker], None]) -> None:
        self._on_frame = on_frame
        self._buffer: FrameBuffer[FromWorker] = FrameBuffer(FromWorker)
        self._room = memoryview(bytearray(_READ_BYTES))
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.fault: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on the frames that the last `nbytes` read complete."""
        try:
            frames = self._buffer.feed(self._room[:nbytes])
        except ValueError as error:
            self.fault = str(error)
            self.close()
            return
        for frame in frames:
            self._on_frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, whatever the reason."""
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, frame: ToWorker) -> None:
        """Send one frame; to a connection that is gone, nothing: its loss is told elsewhere.

        Raises ValueError for a frame that is too long or holds text that is no Unicode.
        """
        data = encode(frame)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close at once, without sending what waits."""
        if self._transport is not None:
            self._transport.abort()
