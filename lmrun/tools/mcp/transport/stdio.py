"""A server as a child process: one message is one line of its standard input or output. Nothing
that it does makes lmrun wait without end or keep more than a bounded part of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence

import anyio
from mcp.shared.message import SessionMessage

from lmrun.errors import EngineCrashed, McpUnreachable
from lmrun.tools.mcp.transport.launching import Launch
from lmrun.tools.mcp.transport.lines import Lines, Tail
from lmrun.tools.mcp.transport.wire import Incoming, parse_line
from lmrun.tools.processes.control import (
    Control,
    ProgramRefused,
    interpreter_environment,
    launcher_command,
)
from lmrun.tools.processes.launcher import GRACE_S, KILL, REST, TERMINATE
from lmrun.tools.processes.program import NO_LIMITS, Program, encode_order

MAX_LINE_BYTES = 4 * 2**20
MAX_UNWRITTEN_BYTES = 16 * 2**20
"""What may wait for a server to read it; one that lets more pile up is given up."""
STDERR_BYTES = 256 * 2**10
EOF_GRACE_S = 2.0
"""How long a server may take to end once its input does."""
_INSIST_S = 13.0
"""How long the launcher may take to kill what resists; then it is itself what hangs."""
_LAST_WORDS_S = 0.3
_CHUNK = 64 * 2**10


class StdioLink:
    """A running server. Made by `start`; whoever has it closes it."""

    def __init__(self, process: _Process) -> None:
        self._process = process
        self._lines = Lines(MAX_LINE_BYTES)
        self._errors = Tail(STDERR_BYTES)
        self._draining = asyncio.ensure_future(self._drain())

    @classmethod
    async def start(cls, launch: Launch) -> StdioLink:
        """Start the program. Raises McpUnreachable where the system refuses."""
        starting = asyncio.ensure_future(_start(launch))
        try:
            link = cls(await asyncio.shield(starting))
        except asyncio.CancelledError:
            # What is half started would be nobody's.
            with contextlib.suppress(OSError, ValueError):
                await cls(await starting).close()
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise McpUnreachable(f"It cannot be started: {reason}.") from error
        try:
            refused = await asyncio.shield(link._process.control.started)
        except asyncio.CancelledError:
            await link.close()
            raise
        if refused is not None:
            await link.close()
            raise _explain(refused, launch)
        return link

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr_tail(self) -> str:
        """The end of what it wrote to its standard error."""
        return self._errors.text()

    @property
    def refusal(self) -> None:
        return None

    async def read(self) -> Sequence[Incoming] | None:
        """The messages of the next chunk; None once it has closed its output, or ended."""
        chunk = await self._process.output.read(_CHUNK)
        if not chunk:
            return None
        return [it for line in self._lines.feed(chunk) for it in parse_line(line)]

    async def write(self, message: SessionMessage) -> None:
        """Queue a message; it never waits. Raises anyio.BrokenResourceError where the server has
        closed its input or reads nothing."""
        text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
        pipe = self._process.input.transport
        if pipe.is_closing() or pipe.get_write_buffer_size() > MAX_UNWRITTEN_BYTES:
            raise anyio.BrokenResourceError
        self._process.input.write(text.encode("utf-8", "replace") + b"\n")

    async def describe_end(self) -> str:
        """How it ended: `exit code 3`, `SIGKILL`; waits a moment for it to do so."""
        if not await self._process.ends_within(_LAST_WORDS_S):
            return "it has closed its output"
        return EngineCrashed.describe(self._process.returncode)

    async def close(self) -> None:
        """End it and all that it has started: its input ends, then SIGTERM, then SIGKILL. When this
        returns, or is cancelled, none of them is left."""
        closing = asyncio.ensure_future(self._close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def _close(self) -> None:
        process = self._process
        process.input.close()
        # One that is about to write must be able to, or it would never see that its input ended.
        discarding = asyncio.ensure_future(self._discard_output())
        # Also after an orderly end the launcher ends those that it may have left behind.
        if not await process.ends_within(EOF_GRACE_S):
            process.control.send(TERMINATE)
            if not await process.ends_within(GRACE_S + 1):
                process.control.send(KILL)
                if not await process.ends_within(_INSIST_S):
                    process.kill_launcher()
                    await process.exited.wait()
        process.discard()
        process.control.close()
        await asyncio.gather(self._draining, discarding)

    async def _discard_output(self) -> None:
        while await self._process.output.read(_CHUNK):
            pass

    async def _drain(self) -> None:
        """What nobody reads would block it."""
        while chunk := await self._process.errors.read(_CHUNK):
            self._errors.feed(chunk)


def _explain(refused: ProgramRefused, launch: Launch) -> McpUnreachable:
    what = launch.directory if refused.step == "directory" else launch.program
    return McpUnreachable(f"It cannot be started: {what}: {refused.reason}.")


class _Process(asyncio.subprocess.SubprocessStreamProtocol):
    """A launcher that keeps the server, and the server's pipes. Unlike `asyncio.subprocess.Process`
    it tells the end of both from that of the pipes, which others may hold open. The launcher ends
    once nothing of the server is left, wherever it went."""

    def __init__(self) -> None:
        super().__init__(limit=_CHUNK, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()
        self.transport: asyncio.SubprocessTransport
        self.control: Control

    @property
    def input(self) -> asyncio.StreamWriter:
        assert self.stdin is not None
        return self.stdin

    @property
    def output(self) -> asyncio.StreamReader:
        assert self.stdout is not None
        return self.stdout

    @property
    def errors(self) -> asyncio.StreamReader:
        assert self.stderr is not None
        return self.stderr

    def process_exited(self) -> None:
        super().process_exited()
        # Its last word is still to be read.
        self.control.lost.add_done_callback(self._note_end)

    def _note_end(self, lost: asyncio.Future[None]) -> None:
        self.exited.set()
        if self.control.ending is None and self.pid > 0:
            # Somebody has killed the launcher: what is in reach is ended all the same.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        # What it has written still arrives; what its children write is of no interest.
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.discard)

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return self.control.pid

    @property
    def returncode(self) -> int | None:
        return self.control.ending.returncode if self.control.ending is not None else None

    async def ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.exited.wait(), seconds)
        return self.exited.is_set()

    def kill_launcher(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.transport.kill()

    def discard(self) -> None:
        """Close the pipes, whoever holds their other ends, and forget what was not written."""
        if self.input.transport.get_write_buffer_size():
            self.input.transport.abort()
        self.transport.close()


async def _start(launch: Launch) -> _Process:
    """Raises ProgramRefused and OSError."""
    loop = asyncio.get_running_loop()
    order = encode_order(
        Program(launch.argv, launch.directory, launch.environment, NO_LIMITS, (), launch.program)
    )
    process = _Process()
    ours, theirs = socket.socketpair()
    with theirs:
        _, process.control = await loop.create_unix_connection(Control, sock=ours)
        try:
            process.transport, _ = await loop.subprocess_exec(
                lambda: process,
                *launcher_command(theirs.fileno()),
                env=interpreter_environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            process.control.close()
            raise
    # There is no limit to keep it within.
    process.control.send(order + REST)
    return process
