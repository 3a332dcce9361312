"""What a worker writes to its standard error: logged, and the last of it kept."""

from __future__ import annotations

import asyncio
import logging

KEPT_BYTES = 256 * 2**10
_LONGEST_LINE = 8 * 2**10

logger = logging.getLogger("lmrun.worker")


class StderrTail(asyncio.Protocol):
    """Keeps the last KEPT_BYTES. `closed` is done once nobody can write any more."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kept = bytearray()
        self._line = bytearray()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Keep and log a piece."""
        self._kept += data
        del self._kept[:-KEPT_BYTES]
        self._line += data
        *lines, rest = self._line.split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
            rest = bytearray()
        self._line = rest
        for line in lines:
            logger.info("%s: %s", self._name, _decode(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """Log what has no end of line."""
        if self._line:
            logger.info("%s: %s", self._name, _decode(self._line))
        if not self.closed.done():
            self.closed.set_result(None)

    @property
    def text(self) -> str:
        """Everything kept."""
        return _decode(self._kept)

    @property
    def last_line(self) -> str | None:
        """The last line that says something."""
        lines = [line for line in self.text[-_LONGEST_LINE:].splitlines() if line.strip()]
        return lines[-1].strip()[:500] if lines else None


def _decode(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "backslashreplace")
