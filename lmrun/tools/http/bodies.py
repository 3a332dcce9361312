"""Bodies of answers as they come: decompressed piece by piece, counted, and given up when they are
too long or take too long."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator

import httpx2

from lmrun.errors import OutboundFailed

PIECE = 64 * 2**10
"""The most that one step of decompression gives, whatever it is fed."""


class Gunzip:
    """One gzip stream, or several after each other."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._is_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, in pieces of bounded size. Raises zlib.error."""
        while data:
            self._is_begun = True
            piece = self._stream.decompress(data, PIECE)
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data = self._stream.unused_data
                self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
                self._is_begun = False
            if piece:
                yield piece

    def end(self) -> None:
        """Nothing more comes. Raises zlib.error when something is missing."""
        if self._is_begun:
            raise zlib.error("the compressed data ends in the middle")


class BoundedBody(httpx2.AsyncByteStream):
    """`stream`, decompressed when `gunzip` is given. `max_bytes` None: no bound; `deadline`: on the
    loop's clock, None: none. Iterating raises OutboundFailed, and what httpx2 raises."""

    def __init__(
        self,
        stream: AsyncIterable[bytes],
        gunzip: Gunzip | None,
        max_bytes: int | None,
        deadline: float | None,
    ) -> None:
        self._stream = stream
        self._gunzip = gunzip
        self._max_bytes = max_bytes
        self._deadline = deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        count = 0
        try:
            while (chunk := await self._next(chunks)) is not None:
                for piece in self._decode(chunk):
                    count += len(piece)
                    if self._max_bytes is not None and count > self._max_bytes:
                        raise too_large(self._max_bytes)
                    yield piece
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout_at(self._deadline):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise httpx2.ReadTimeout("the answer was not whole in time") from None
        if chunk is None and self._gunzip is not None:
            try:
                self._gunzip.end()
            except zlib.error as error:
                raise httpx2.DecodingError(str(error)) from None
        return chunk

    def _decode(self, chunk: bytes) -> Iterator[bytes]:
        if self._gunzip is None:
            yield chunk
            return
        try:
            yield from self._gunzip.feed(chunk)
        except zlib.error as error:
            raise httpx2.DecodingError(f"the compressed data is damaged: {error}") from None

    async def aclose(self) -> None:
        if isinstance(self._stream, httpx2.AsyncByteStream):
            await self._stream.aclose()


def too_large(max_bytes: int) -> OutboundFailed:
    return OutboundFailed(
        f"The answer is longer than {max_bytes} bytes.",
        reason="too_large",
        hint="Ask for less of it.",
    )
