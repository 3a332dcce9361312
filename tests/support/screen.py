"""A command at a terminal of its own. It knows no command."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence


class Screen:
    """A process with a terminal for its three streams, and what it has written there."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*command], env=dict(environment), stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        self.text = ""

    def read_until(self, words: str, within_s: float = 15.0) -> None:
        """Fails the test when `words` do not come in time."""
        deadline = time.monotonic() + within_s
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self._master], [], [], 0.1)[0] and not self._read():
                assert words in self.text, self.text

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(10)

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # Linux says EIO when the last process has closed the terminal.
            return False
        self.text += data.decode(errors="replace")
        return bool(data)
