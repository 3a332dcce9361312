"""Running git: no shell, no prompt, no hook, bounded time and output. It knows no repository."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.errors import GitFailed
from lmrun.settings.git_source import hide_credentials

NETWORK_TIMEOUT_S = 120.0
LOCAL_TIMEOUT_S = 30.0
MAX_OUTPUT_BYTES = 128 * 2**20
_SHOWN_BYTES = 2000
_PASSED_ON = frozenset(
    {
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_SSL_CAINFO",
        "GIT_SSL_CAPATH",
    }
)
"""Of git's own variables. Others, like GIT_DIR, would lead it elsewhere."""
_NEVER_PASSED_ON = frozenset({"SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"})
_HARDENING = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "protocol.allow=never",
    "protocol.ext.allow=never",
    "protocol.fd.allow=never",
)
_PROTOCOLS = ("https", "ssh", "file")
_UNPROTECTED = ("http", "git")


@dataclass(frozen=True, slots=True)
class Git:
    """git on the bare repository `folder`. The user's own configuration holds: it says how to log
    in and whose signatures count. `trusts_transport`: protocols that protect nothing are off."""

    folder: Path
    environment: Mapping[str, str] = field(repr=False)
    trusts_transport: bool = True

    async def run(
        self, *arguments: str, stdin: bytes = b"", timeout_s: float = LOCAL_TIMEOUT_S
    ) -> bytes:
        """What git prints. Raises GitFailed with what it says when it fails or takes too long."""
        protocols = _PROTOCOLS if self.trusts_transport else (*_PROTOCOLS, *_UNPROTECTED)
        settings = [*_HARDENING, *(f"protocol.{name}.allow=always" for name in protocols)]
        options = [word for setting in settings for word in ("-c", setting)]
        command = ["git", f"--git-dir={self.folder}", *options, *arguments]
        code, out, err = await _run(command, make_environment(self.environment), stdin, timeout_s)
        if code != 0:
            raise GitFailed(f"`git {arguments[0]}` failed: {_explain(code, err, timeout_s)}.")
        return out


def make_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """git's environment: nothing that leads it to other repositories, nobody to ask."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in _NEVER_PASSED_ON and (not name.startswith("GIT_") or name in _PASSED_ON)
    }
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


async def _run(
    command: Sequence[str], environment: Mapping[str, str], stdin: bytes, timeout_s: float
) -> tuple[int | None, bytes, bytes]:
    """Exit code (None: it took too long), output, errors. Raises GitFailed without a git."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            cwd="/",
            # Its own session: what it starts ends with it, and ssh finds no terminal to ask at.
            start_new_session=True,
        )
    except OSError as error:
        raise GitFailed(f"git cannot be started: {error.strerror}.", hint="Install git.") from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await _talk(process, stdin)
            return await process.wait(), out, err
    except TimeoutError:
        return None, b"", b""
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await _forget(process)


async def _talk(process: asyncio.subprocess.Process, stdin: bytes) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.TaskGroup() as tasks:
            out = tasks.create_task(_read(process.stdout))
            err = tasks.create_task(_read(process.stderr))
            tasks.create_task(_feed(process.stdin, stdin))
    except* _TooMuch:
        raise GitFailed(f"git printed more than {MAX_OUTPUT_BYTES} bytes.") from None
    return out.result(), err.result()


async def _forget(process: asyncio.subprocess.Process) -> None:
    """Read what a process that was ended has left in its pipes, and let go of it."""
    for stream in (process.stdout, process.stderr):
        while stream is not None and await stream.read(2**16):
            pass
    await process.wait()


async def _feed(stream: asyncio.StreamWriter, content: bytes) -> None:
    with suppress(ConnectionError):
        stream.write(content)
        await stream.drain()
    stream.close()


class _TooMuch(Exception):
    """More output than anybody needs."""


async def _read(stream: asyncio.StreamReader) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await stream.read(2**16):
        size += len(chunk)
        if size > MAX_OUTPUT_BYTES:
            raise _TooMuch
        chunks.append(chunk)
    return b"".join(chunks)


def _explain(code: int | None, err: bytes, timeout_s: float) -> str:
    if code is None:
        return f"it took longer than {timeout_s:.0f} s"
    said = err[-_SHOWN_BYTES:].decode(errors="replace").strip()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return hide_credentials("; ".join(lines)).rstrip(".") or f"exit code {code}"
