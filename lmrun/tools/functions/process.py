"""A process with functions, as the server sees it: started, asked, ended. It knows no tool."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import lmrun
from lmrun.tools.functions.frames import (
    Call,
    Described,
    FrameReader,
    FromChild,
    Returned,
    Setup,
    ToChild,
    encode,
)
from lmrun.tools.output import BoundedOutput
from lmrun.tools.processes.endings import Ending
from lmrun.tools.processes.group import ProcessGroup
from lmrun.tools.processes.launcher import GRACE_S
from lmrun.tools.processes.program import Limits, Program

log = logging.getLogger("lmrun.tools")

KEPT_OUTPUT_BYTES = 8 * 2**10

_COMMAND = (sys.executable, "-P", "-u", "-m", "lmrun.tools.functions.child")
"""Nothing is imported from the current directory; what is printed is seen before a crash."""

_INTERPRETER_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where functions run. `directory`: where their `module` lies; `cwd`: where they run;
    `environment`: all that they see. `functions`: names by the tools' keys. `limits`: those of a
    process; processor time is a call's."""

    directory: Path
    module: str
    functions: Mapping[str, str]
    cwd: Path
    environment: Mapping[str, str]
    limits: Limits


class ChildLost(Exception):
    """It ended, or broke the protocol, instead of answering. `output`: what it printed."""

    def __init__(self, ending: Ending, output: str) -> None:
        super().__init__("the process ended")
        self.ending = ending
        self.output = output


class FunctionProcess:
    """A running process with functions, which does one thing at a time. Whoever starts one awaits
    `close` in the end; until then it may have ended by itself."""

    def __init__(self, group: ProcessGroup, connection: _Connection, output: _LastOutput) -> None:
        self._group = group
        self._connection = connection
        self._output = output
        self.files: Mapping[str, int] = {}

    @classmethod
    async def start(cls, place: Workplace) -> Self:
        """Raises ProgramRefused and OSError. When cancelled, nothing is left."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        output = _LastOutput()
        own = _interpreter_environment()
        with theirs:
            _, connection = await loop.create_unix_connection(_Connection, sock=ours)
            program = Program(
                (*_COMMAND, str(theirs.fileno())),
                place.cwd,
                {**own, **place.environment},
                place.limits,
                (theirs.fileno(),),
            )
            try:
                group = await ProcessGroup.start(program, output.feed, output.feed)
            except BaseException:
                connection.close()
                raise
        return cls(group, connection, output)

    @property
    def is_alive(self) -> bool:
        return not self._connection.lost.done() and not self._group.ended.done()

    def is_stale(self) -> bool:
        """Whether a file that it imported has changed since."""
        return any(_last_change(file) != then for file, then in self.files.items())

    async def set_up(self, place: Workplace) -> Described:
        """What its functions are like. Raises ChildLost."""
        hidden = [name for name in _interpreter_environment() if name not in place.environment]
        setup = Setup(str(place.directory), place.module, dict(place.functions), tuple(hidden))
        answer = await self._ask(setup)
        if not isinstance(answer, Described):
            raise await self._lost()
        self.files = answer.files
        return answer

    async def call(self, call: Call) -> Returned:
        """Raises ChildLost."""
        answer = await self._ask(call)
        if not isinstance(answer, Returned):
            raise await self._lost()
        return answer

    @property
    def output(self) -> str:
        """What the last thing that it did has printed."""
        return self._output.text

    async def end(self) -> None:
        """Ask it to end, then insist."""
        self._group.ask_to_end()
        await self._group.ends_within(GRACE_S + 1)
        await self.close()

    async def close(self) -> Ending:
        """End it, and all that it has started, at once."""
        self._connection.close()
        return await self._group.close()

    async def _ask(self, frame: ToChild) -> FromChild | None:
        self._output.clear()
        self._group.watch(is_busy=True)
        answer = self._connection.ask(frame)
        either: set[asyncio.Future[Any]] = {answer, self._connection.lost}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        self._group.watch(is_busy=False)
        return answer.result() if answer.done() else None

    async def _lost(self) -> ChildLost:
        # Its status comes a little later than the end of its socket.
        await self._group.ends_within(1.0)
        return ChildLost(await self.close(), self.output)


class _LastOutput:
    """What is printed, from the last `clear` on."""

    def __init__(self) -> None:
        self._output = BoundedOutput(KEPT_OUTPUT_BYTES)

    def feed(self, data: bytes) -> None:
        self._output.feed(data)

    def clear(self) -> None:
        self._output = BoundedOutput(KEPT_OUTPUT_BYTES)

    @property
    def text(self) -> str:
        return self._output.text


class _Connection(asyncio.Protocol):
    """The server's end of the socket. `lost` is done once it is closed, by whomever."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader: FrameReader[FromChild] = FrameReader(FromChild)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[FromChild] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """A frame answers what was asked; without that, and when it is none, this is the end."""
        try:
            frames = self._reader.feed(data)
        except ValueError as error:
            log.warning("a process with functions does not keep to the protocol: %s", error)
            return self.close()
        for frame in frames:
            if self._answer is None or self._answer.done():
                log.warning("a process with functions answers what nobody has asked")
                return self.close()
            self._answer.set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, whatever the reason."""
        if not self.lost.done():
            self.lost.set_result(None)

    def ask(self, frame: ToChild) -> asyncio.Future[FromChild]:
        """What it answers, which may never come."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(frame))
        return self._answer

    def close(self) -> None:
        """Close at once, without sending what waits."""
        if self._transport is not None:
            self._transport.abort()


def _last_change(file: str) -> int | None:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None


def _interpreter_environment() -> dict[str, str]:
    """What Python needs to start and to find lmrun; functions do not see it."""
    passed = {name: os.environ[name] for name in _INTERPRETER_VARIABLES if name in os.environ}
    parent = Path(lmrun.__file__).resolve().parent.parent
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    if parent not in installed:
        places = [*passed.get("PYTHONPATH", "").split(os.pathsep), str(parent)]
        passed["PYTHONPATH"] = os.pathsep.join(place for place in places if place)
    return passed
