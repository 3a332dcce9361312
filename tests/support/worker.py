"""A real worker process, spoken to directly: for tests of the worker without the server's half."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmrun.chat.events import WorkerEvent
from lmrun.chat.messages import Prompt, RawPrompt
from lmrun.runtime.process.environment import make_environment
from lmrun.worker.connection import FrameBuffer
from lmrun.worker.frames import (
    FromWorker,
    Generate,
    Load,
    Loaded,
    LoadProgress,
    SequenceEvents,
    Step,
    ToWorker,
    encode,
)

CHECKOUT = Path(__file__).parent.parent.parent


class Worker:
    """The server's part, in a few blocking lines."""

    def __init__(self, process: subprocess.Popen[str], end: socket.socket) -> None:
        self.process = process
        self.socket = end
        self._buffer: FrameBuffer[FromWorker] = FrameBuffer(FromWorker)
        self._frames: list[FromWorker] = []

    def send(self, frame: ToWorker) -> None:
        """Send one frame."""
        self.socket.sendall(encode(frame))

    def read(self) -> FromWorker:
        """The next frame, within the socket's timeout."""
        while not self._frames:
            data = self.socket.recv(65_536)
            assert data, f"the worker closed: {self.wait()}"
            self._frames += self._buffer.feed(data)
        return self._frames.pop(0)

    def load(self, path: Path, **fields: Any) -> FromWorker:
        """Load a script; the frame that ends the load."""
        given: dict[str, Any] = {"engine": "scripted", "config": {}, "threads": 1, **fields}
        self.send(Load(path=str(path), **given))
        while isinstance(frame := self.read(), LoadProgress):
            pass
        return frame

    def start(self, id: int, prompt: Prompt | str, **prediction: Any) -> None:
        """Start a sequence."""
        given = RawPrompt(prompt) if isinstance(prompt, str) else prompt
        self.send(Generate(id, given, prediction))

    def until(self, is_wanted: Callable[[Step], bool]) -> list[Step]:
        """All steps up to the first that is wanted."""
        steps: list[Step] = []
        while not steps or not is_wanted(steps[-1]):
            frame = self.read()
            assert isinstance(frame, Step), frame
            steps.append(frame)
        return steps

    def wait(self) -> tuple[int, str]:
        """The exit code and what it wrote to its standard error."""
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors


def parts_of(steps: list[Step], id: int) -> list[SequenceEvents]:
    """What the steps say of one sequence."""
    return [part for step in steps for part in step.sequences if part.id == id]


def events_of(steps: list[Step], id: int) -> list[WorkerEvent]:
    """The events of one sequence."""
    return [event for part in parts_of(steps, id) for event in part.events]


@contextmanager
def open_worker(path: Path | None = None, timeout_s: float = 10.0) -> Iterator[Worker]:
    """A worker, with the script at `path` loaded when one is given. Killed afterwards."""
    ours, theirs = socket.socketpair()
    ours.settimeout(timeout_s)
    command = [sys.executable, "-P", "-m", "lmrun.worker", str(theirs.fileno())]
    with ours, theirs:
        process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env=make_environment(os.environ, CHECKOUT),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        theirs.close()
        with process:
            try:
                worker = Worker(process, ours)
                if path is not None:
                    assert isinstance(worker.load(path), Loaded)
                yield worker
            finally:
                process.kill()


def wait_for(look: Callable[[], bool], within_s: float) -> float:
    """Seconds until `look()` held. Fails the test when it does not in time."""
    started = time.monotonic()
    while not look():
        assert time.monotonic() - started < within_s, f"not within {within_s} s"
        time.sleep(0.002)
    return time.monotonic() - started
