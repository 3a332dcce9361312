"""A program and all that comes of it, as the server sees it: started, ended, gone. It knows no
tool; the launcher at its side does the ending."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self, cast

from lmrun.tools.processes.endings import EXCEEDED, Ending
from lmrun.tools.processes.launcher import GRACE_S, KILL, REST, TERMINATE, WATCH
from lmrun.tools.processes.program import Program, encode_order
from lmrun.tools.processes.waiting import outlast

OnOutput = Callable[[bytes], None]
Step = Literal["limits", "directory", "program"]

_HERE = str(Path(__file__).parent)
_LAUNCHER = (
    "import sys; sys.path.append(sys.argv[1]); import launcher; launcher.main(int(sys.argv[2]))"
)
"""As a module rather than as a file: that is compiled once."""
_LAST_WORDS_S = 0.2
_MOST_PATIENCE_S = GRACE_S + 13.0

# What an interpreter may need to start at all. The program itself never sees it.
_INTERPRETER_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class ProgramRefused(Exception):
    """The system does not start it. `step`: what it was at; `number`: its errno, 0 for none."""

    def __init__(self, step: Step, reason: str, number: int = 0) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason
        self.number = number


class ProcessGroup:
    """A running program. `ended` is done once nothing of it is left.

    Whoever starts one awaits `ended` or `close` in the end.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        control: _Control,
        outputs: Sequence[_Output],
    ) -> None:
        self._process = process
        self._control = control
        self._outputs = outputs
        self.ended: asyncio.Task[Ending] = asyncio.create_task(self._end())

    @classmethod
    async def start(cls, program: Program, on_stdout: OnOutput, on_stderr: OnOutput) -> Self:
        """Start `program`; what it writes goes to the two callbacks, in pieces. Raises
        ProgramRefused, and OSError when not even the launcher can be started. When cancelled,
        nothing is left."""
        try:
            order = encode_order(program)
        except ValueError as error:
            raise ProgramRefused("program", str(error)) from None
        starting = asyncio.ensure_future(cls._launch(order, program.fds, on_stdout, on_stderr))
        try:
            group = await outlast(starting)
            refused = await asyncio.shield(group._control.started)
        except asyncio.CancelledError:
            if starting.exception() is None:
                await starting.result().close()
            raise
        if refused is not None:
            await group.close()
            raise refused
        return group

    @classmethod
    async def _launch(
        cls, order: bytes, fds: Sequence[int], on_stdout: OnOutput, on_stderr: OnOutput
    ) -> Self:
        loop = asyncio.get_running_loop()
        outputs: list[_Output] = []
        with _Pipe(on_stdout) as stdout, _Pipe(on_stderr) as stderr:
            ours, theirs = socket.socketpair()
            with theirs:
                _, control = await loop.create_unix_connection(_Control, sock=ours)
                try:
                    for pipe in (stdout, stderr):
                        outputs.append(await pipe.listen())
                    process = await asyncio.create_subprocess_exec(
                        sys.executable,
                        *("-I", "-S", "-c", _LAUNCHER, _HERE, str(theirs.fileno())),
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=stdout.writing,
                        stderr=stderr.writing,
                        pass_fds=(theirs.fileno(), *fds),
                        start_new_session=True,
                        env=_interpreter_environment(),
                    )
                except BaseException:
                    control.close()
                    for output in outputs:
                        output.close()
                    raise
        control.send(order)
        return cls(process, control, outputs)

    @property
    def pid(self) -> int:
        """Of the program itself, which leads its group."""
        return self._control.pid

    async def ends_within(self, seconds: float) -> bool:
        """Whether nothing of it is left by then."""
        done, _ = await asyncio.wait({self.ended}, timeout=seconds)
        return bool(done)

    def watch(self, *, is_busy: bool) -> None:
        """Whether it is worth looking if it keeps within its limits. It is until this says no."""
        self._control.send(WATCH if is_busy else REST)

    def ask_to_end(self) -> None:
        """TERM to all of it, KILL to what is left after two seconds. `ended` follows."""
        self._control.send(TERMINATE)

    def kill(self) -> None:
        """KILL to all of it. `ended` follows."""
        self._control.send(KILL)

    async def close(self) -> Ending:
        """Kill what is left, and wait until nothing is, also when cancelled meanwhile."""
        self.kill()
        # The launcher insists for ten seconds; then it is itself what hangs.
        timer = asyncio.get_running_loop().call_later(_MOST_PATIENCE_S, self._kill_launcher)
        try:
            return await outlast(self.ended)
        finally:
            timer.cancel()

    def _kill_launcher(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _end(self) -> Ending:
        while not self._control.lost.done() or self._process.returncode is None:
            try:
                await asyncio.shield(self._control.lost)
                await self._process.wait()
            except asyncio.CancelledError:
                self.kill()  # the event loop ends, and everything has to
        if self._control.ending is None:
            # Somebody has killed the launcher: what is in reach is ended all the same.
            self._kill_group()
        # A process out of reach may hold its output open: it gets little time.
        await asyncio.wait([output.closed for output in self._outputs], timeout=_LAST_WORDS_S)
        for output in self._outputs:
            output.close()
        return self._control.ending or Ending(None)

    def _kill_group(self) -> None:
        if self.pid > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


class _Control(asyncio.Protocol):
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


class _Pipe:
    """The two ends of a pipe until both are somebody's."""

    def __init__(self, on_output: OnOutput) -> None:
        self._on_output = on_output
        self._reading, self.writing = os.pipe()
        self._is_heard = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        os.close(self.writing)
        if not self._is_heard:
            os.close(self._reading)

    async def listen(self) -> _Output:
        """From now on what is written is heard."""
        end = os.fdopen(self._reading, "rb", 0)
        self._is_heard = True
        loop = asyncio.get_running_loop()
        _, output = await loop.connect_read_pipe(lambda: _Output(self._on_output), end)
        return output


class _Output(asyncio.Protocol):
    """The end at which a program is heard. `closed` is done once nobody can write any more."""

    def __init__(self, on_output: OnOutput) -> None:
        self._on_output = on_output
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self._on_output(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, whatever the reason."""
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Hear no more."""
        if self._transport is not None:
            self._transport.close()


def _interpreter_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _INTERPRETER_VARIABLES if name in os.environ}
