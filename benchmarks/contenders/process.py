"""A server as a process: started with its output in a file, waited for, ended by its own id."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_S, END_S = 90.0, 20.0


class Process:
    """One running server. `log`: the file with what it printed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    async def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Raises RuntimeError with its last words when it ends or takes too long."""
        for _ in range(int(START_S / 0.05)):
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.last_words()}")
            if is_ready():
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"not ready after {START_S} s: {self.last_words()}")

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return " / ".join(line for line in lines[-3:] if line.strip())

    def end(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def find_free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a GET gives a 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
