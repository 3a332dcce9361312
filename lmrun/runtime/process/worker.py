"""One worker process: started, spoken to, ended, reaped. It knows no instance and no sequence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Self

import lmrun
from lmrun.runtime.process.connection import WorkerConnection
from lmrun.runtime.process.environment import make_environment
from lmrun.runtime.process.stderr import StderrTail
from lmrun.runtime.timings import Timings
from lmrun.worker.frames import Close, FromWorker, ToWorker

_GRACE_S = 0.05


class WorkerProcess:
    """A running worker. `death` is done when it is reaped, with its return code.

    Whoever starts one awaits `finish` or `stop` in the end.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        connection: WorkerConnection,
        stderr: StderrTail,
        stderr_transport: asyncio.BaseTransport,
    ) -> None:
        self._process = process
        self._connection = connection
        self._stderr = stderr
        self._stderr_transport = stderr_transport
        self.pid = process.pid
        self.death: asyncio.Task[int] = asyncio.create_task(self._reap())

    @classmethod
    async def spawn(cls, name: str, on_frame: Callable[[FromWorker], None]) -> Self:
        """Start a worker. `name` is for the log. Raises OSError when the system refuses."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        with theirs, os.fdopen(writing, "wb", 0):
            stderr_transport, stderr = await loop.connect_read_pipe(
                lambda: StderrTail(name), os.fdopen(reading, "rb", 0)
            )
            _, connection = await loop.create_unix_connection(
                lambda: WorkerConnection(on_frame), sock=ours
            )
            try:
                process = await _execute(theirs.fileno(), writing)
            except BaseException:
                stderr_transport.close()
                connection.close()
                raise
        return cls(process, connection, stderr, stderr_transport)

    @property
    def fault(self) -> str | None:
        """What was wrong with what it sent, if that is why it was ended."""
        return self._connection.fault

    @property
    def stderr(self) -> StderrTail:
        """What it wrote to its standard error."""
        return self._stderr

    def send(self, frame: ToWorker) -> None:
        """Send one frame, if it lives. Raises ValueError for a frame that cannot be sent."""
        self._connection.send(frame)

    def kill(self) -> None:
        """End it now. `death` follows."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def finish(self) -> int:
        """Wait for its death and its last words. The return code.

        A process that the worker started may keep its standard error open: it gets little time.
        """
        returncode = await asyncio.shield(self.death)
        await asyncio.wait({self._stderr.closed}, timeout=_GRACE_S)
        self._stderr_transport.close()
        return returncode

    async def stop(self, timings: Timings) -> int:
        """Ask it to end, then insist. The return code."""
        self.send(Close())
        if not await self._dies_within(timings.close_timeout_s):
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            if not await self._dies_within(timings.term_timeout_s):
                self.kill()
        return await self.finish()

    async def _dies_within(self, seconds: float) -> bool:
        done, _ = await asyncio.wait({self.death}, timeout=seconds)
        return bool(done)

    async def _reap(self) -> int:
        """A closed socket is the first sign of death; one that closes it and lives on is ended."""
        await self._connection.lost
        ended = asyncio.ensure_future(self._process.wait())
        done, _ = await asyncio.wait({ended}, timeout=_GRACE_S)
        if not done:
            self.kill()
        return await ended


async def _execute(end_of_socket: int, stderr: int) -> asyncio.subprocess.Process:
    """The worker's process; none is left when this is cancelled."""
    starting = asyncio.create_task(_start(end_of_socket, stderr))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # What is half started would be nobody's.
        process = await starting
        process.kill()
        await process.wait()
        raise


async def _start(end_of_socket: int, stderr: int) -> asyncio.subprocess.Process:
    """`-P`: nothing is imported from the current directory."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "lmrun.worker",
        str(end_of_socket),
        pass_fds=(end_of_socket,),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
        start_new_session=True,
        env=make_environment(os.environ, _checkout()),
    )


def _checkout() -> Path | None:
    """The folder of the source checkout that lmrun runs from; None when it is installed."""
    parent = Path(lmrun.__file__).resolve().parent.parent
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    return None if parent in installed else parent
