"""A program and all that comes of it, as the server sees it: started, ended, gone. It knows no
tool; the launcher at its side does the ending."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Self

from lmrun.tools.processes.control import (
    Control,
    ProgramRefused,
    interpreter_environment,
    launcher_command,
)
from lmrun.tools.processes.endings import Ending
from lmrun.tools.processes.launcher import GRACE_S, KILL, REST, TERMINATE, WATCH
from lmrun.tools.processes.program import Program, encode_order
from lmrun.tools.processes.waiting import outlast

OnOutput = Callable[[bytes], None]

_LAST_WORDS_S = 0.2
_MOST_PATIENCE_S = GRACE_S + 13.0


class ProcessGroup:
    """A running program. `ended` is done once nothing of it is left.

    Whoever starts one awaits `ended` or `close` in the end.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        control: Control,
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
                _, control = await loop.create_unix_connection(Control, sock=ours)
                try:
                    for pipe in (stdout, stderr):
                        outputs.append(await pipe.listen())
                    process = await asyncio.create_subprocess_exec(
                        *launcher_command(theirs.fileno()),
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=stdout.writing,
                        stderr=stderr.writing,
                        pass_fds=(theirs.fileno(), *fds),
                        start_new_session=True,
                        env=interpreter_environment(),
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
