"""Vectors and scores on their way from a worker: parts of an answer, and the whole of it."""

from __future__ import annotations

import asyncio
import sys
from array import array
from dataclasses import dataclass

from lmrun.errors import EngineError, LmrunError
from lmrun.worker.frames import Embedded

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Vectors:
    """`count` vectors of equal length. `data`: their numbers one after the other, float32,
    little-endian. `prompt_tokens`: of all inputs together."""

    data: bytes
    count: int
    prompt_tokens: int

    def read_bytes(self, index: int) -> bytes:
        """One vector as it is in `data`."""
        size = len(self.data) // self.count
        return self.data[index * size : (index + 1) * size]

    def read(self, index: int) -> list[float]:
        """One vector as numbers."""
        numbers = array("f", self.read_bytes(index))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()


@dataclass(frozen=True, slots=True)
class Scores:
    """A number for each document, higher is better. `prompt_tokens`: of all pairs together."""

    values: tuple[float, ...]
    prompt_tokens: int


class VectorStream:
    """Collects the parts of an answer with `count` vectors."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._data = bytearray()
        self._tokens = 0
        self._done: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()

    def push(self, part: Embedded) -> None:
        """Take the next part."""
        self._data += part.values
        self._tokens += part.tokens
        if not part.is_last or self._done.done():
            return
        if len(self._data) % (_FLOAT_BYTES * self._count):
            self.fail(EngineError(f"The worker sent {len(self._data)} bytes: no whole vectors."))
        else:
            self._done.set_result(Vectors(bytes(self._data), self._count, self._tokens))

    def fail(self, error: LmrunError) -> None:
        """End it with an error."""
        if not self._done.done():
            self._done.set_exception(error)

    async def whole(self) -> Vectors:
        """The answer. Raises the error that ended it."""
        return await self._done
