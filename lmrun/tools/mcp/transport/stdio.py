"""A server as a child process: one message is one line of its standard input or output. Nothing
that it does makes lmrun wait without end or keep more than a bounded part of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

import anyio
from mcp.shared.message import SessionMessage

from lmrun.errors import EngineCrashed, McpUnreachable
from lmrun.tools.mcp.transport.launching import Launch, make_command
from lmrun.tools.mcp.transport.lines import Lines, Tail
from lmrun.tools.mcp.transport.wire import Incoming, parse_line

MAX_LINE_BYTES = 4 * 2**20
MAX_UNWRITTEN_BYTES = 16 * 2**20
"""What may wait for a server to read it; one that lets more pile up is given up."""
STDERR_BYTES = 256 * 2**10
EOF_GRACE_S = 2.0
"""How long a server may take to end once its input does."""
TERM_GRACE_S = 2.0
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
            return cls(await asyncio.shield(starting))
        except asyncio.CancelledError:
            # What is half started would be nobody's.
            with contextlib.suppress(OSError):
                await cls(await starting).close()
            raise
        except OSError as error:
            raise McpUnreachable(f"It cannot be started: {error.strerror or error}.") from error

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
        """End it and everything in its process group: its input ends, then SIGTERM, then SIGKILL.
        When this returns, or is cancelled, none of them is left."""
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
        is_over = await process.ends_within(EOF_GRACE_S)
        if not is_over:
            process.signal_group(signal.SIGTERM)
            is_over = await process.ends_within(TERM_GRACE_S)
        # Also after an orderly end: it may have left others behind.
        process.signal_group(signal.SIGKILL)
        if not is_over:
            await process.exited.wait()
        process.discard()
        await asyncio.gather(self._draining, discarding)

    async def _discard_output(self) -> None:
        while await self._process.output.read(_CHUNK):
            pass

    async def _drain(self) -> None:
        """What nobody reads would block it."""
        while chunk := await self._process.errors.read(_CHUNK):
            self._errors.feed(chunk)


class _Process(asyncio.subprocess.SubprocessStreamProtocol):
    """A child and its pipes. Unlike `asyncio.subprocess.Process` it tells the child's end from that
    of its pipes, which others may hold open."""

    def __init__(self) -> None:
        super().__init__(limit=_CHUNK, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()
        self.transport: asyncio.SubprocessTransport

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
        self.exited.set()
        # What it has written still arrives; what its children write is of no interest.
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.discard)

    @property
    def pid(self) -> int:
        return self.transport.get_pid()

    @property
    def returncode(self) -> int | None:
        return self.transport.get_returncode()

    async def ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.exited.wait(), seconds)
        return self.exited.is_set()

    def signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def discard(self) -> None:
        """Close the pipes, whoever holds their other ends, and forget what was not written."""
        if self.input.transport.get_write_buffer_size():
            self.input.transport.abort()
        self.transport.close()


async def _start(launch: Launch) -> _Process:
    process = _Process()
    process.transport, _ = await asyncio.get_running_loop().subprocess_exec(
        lambda: process,
        *make_command(launch, os.getpid()),
        cwd=launch.directory,
        env=dict(launch.environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    return process
