"""The launcher as lmrun sees it: how it is started, and what it says. It knows no tool."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Literal, cast

from lmrun.tools.processes.endings import EXCEEDED, Ending

Step = Literal["limits", "directory", "program"]

_HERE = str(Path(__file__).parent)
_LAUNCHER = (
    "import sys; sys.path.append(sys.argv[1]); import launcher; launcher.main(int(sys.argv[2]))"
)
"""As a module rather than as a file: that is compiled once."""

# What an interpreter may need to start at all. The program itself never sees it.
_INTERPRETER_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def launcher_command(control: int) -> list[str]:
    """`control`: the descriptor of its end of a socketpair, which it inherits."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, _HERE, str(control)]


def interpreter_environment() -> dict[str, str]:
    """That of the launcher itself."""
    return {name: os.environ[name] for name in _INTERPRETER_VARIABLES if name in os.environ}


class ProgramRefused(Exception):
    """The system does not start it. `step`: what it was at; `number`: its errno, 0 for none."""

    def __init__(self, step: Step, reason: str, number: int = 0) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason
        self.number = number


class Control(asyncio.Protocol):
    """What the launcher says. `lost` is done once it is gone, and everything else with it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[ProgramRefused | None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.pid = 0
        self.ending: Ending | None = None
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Understand each line."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            match line.decode("ascii").split():
                case ["forked", pid]:
                    self.pid = int(pid)
                case ["started"]:
                    self._tell(None)
                case ["refused", number, step]:
                    reason = os.strerror(int(number))
                    self._tell(ProgramRefused(cast(Step, step), reason, int(number)))
                case ["ended", status, reason]:
                    returncode = None if status == "None" else int(status)
                    self.ending = Ending(returncode, EXCEEDED.get(reason))

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever has not been said will not be."""
        # What was forked may have done something, and have ended the launcher.
        self._tell(None if self.pid else ProgramRefused("program", "the launcher ended"))
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, data: bytes) -> None:
        """To a launcher that is gone, nothing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """The launcher ends everything when it sees that."""
        if self._transport is not None:
            self._transport.abort()

    def _tell(self, refused: ProgramRefused | None) -> None:
        if not self.started.done():
            self.started.set_result(refused)
