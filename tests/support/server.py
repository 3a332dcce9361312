"""A real server process for tests: its own home, a free port, nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from lmrun.cli.client import Control
from lmrun.errors import ServerUnreachable
from lmrun.reconcile.outcome import ActionEnded, ApplyEnded, ApplyEvent, Outcome
from lmrun.reconcile.status import InstanceStatus, ModelStatus, Status
from lmrun.store.home import Home

T = TypeVar("T")


def eventually(look: Callable[[], T | bool | None], *, within_s: float = 15.0) -> T:
    """The first truthy value of `look()`. Fails the test when none comes in time."""
    deadline = time.monotonic() + within_s
    while True:
        value = look()
        if value:
            return value  # type: ignore[return-value]  # truthy: neither None nor False
        assert time.monotonic() < deadline, f"not within {within_s} s: {look}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`lmrun serve` in a process of its own, on the home it is given. `program`: what runs lmrun,
    up to its own arguments."""

    def __init__(
        self,
        home: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-P", "-m", "lmrun"),
    ) -> None:
        self.home = Home(home)
        self.control = Control(self.home.control_socket)
        self._log = open(home / "test-server.log", "ab")  # noqa: SIM115  closed in `end`
        self.process = subprocess.Popen(
            [*program, "serve", *arguments],
            env={**os.environ, "LMRUN_HOME": str(home), **(environment or {})},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Server:
        def answers() -> bool:
            assert self.process.poll() is None, f"the server ended: {self.log()}"
            return self.control.is_listening()

        eventually(answers, within_s=30.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        workers: list[int] = []
        # A server that has just died says nothing more: what the test found out is what counts.
        with suppress(ServerUnreachable):
            workers = self.worker_pids() if self.process.poll() is None else []
        self.end()
        for pid in workers:
            eventually(lambda pid=pid: not is_alive(pid), within_s=5.0)  # type: ignore[misc]

    def end(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self._log.close()

    def kill(self) -> None:
        """SIGKILL, as the kernel would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)

    def log(self) -> str:
        return (self.home.root / "test-server.log").read_text()

    @property
    def status(self) -> Status:
        return self.control.status()

    @property
    def address(self) -> str:
        address = self.status.server.address
        assert address is not None, f"nothing listens: {self.status}"
        return address

    def apply(self, profile: Path, **environment: str) -> ApplyEnded:
        """Apply and wait; the last event."""
        last = self.apply_events(profile, **environment)[-1]
        assert isinstance(last, ApplyEnded)
        return last

    def apply_events(self, profile: Path, **environment: str) -> list[ApplyEvent]:
        return list(self.control.apply(profile, environment, watch=False))

    def outcomes(self, profile: Path) -> list[Outcome]:
        events = self.apply_events(profile)
        return [event.outcome for event in events if isinstance(event, ActionEnded)]

    def model(self, key: str) -> ModelStatus:
        return next(model for model in self.status.models if model.key == key)

    def instance(self, identifier: str) -> InstanceStatus | None:
        instances = (it for model in self.status.models for it in model.instances)
        return next((it for it in instances if it.identifier == identifier), None)

    def ready(self, identifier: str, *, not_pid: int | None = None) -> InstanceStatus:
        """The instance once it is ready, under another pid than `not_pid`."""

        def look() -> InstanceStatus | None:
            instance = self.instance(identifier)
            is_ready = instance is not None and instance.state == "ready"
            return instance if is_ready and instance.pid != not_pid else None  # type: ignore[union-attr]

        return eventually(look)

    def worker_pids(self) -> list[int]:
        instances = (it for model in self.status.models for it in model.instances)
        return [it.pid for it in instances if it.pid is not None]

    def condition(self, kind: str) -> str:
        """`status/reason: message` of a condition of the server."""
        condition = next(it for it in self.status.conditions if it.type == kind)
        return f"{condition.status}/{condition.reason}: {condition.message}"


@contextmanager
def serving(home: Path, profile: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """A server on `profile`, every declared model ready."""
    with Server(home, str(profile), *arguments, environment=environment) as server:
        eventually(lambda: server.condition("Converged").startswith("True"), within_s=60.0)
        yield server


def lmrun(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in the server's home, whose user sits at no terminal."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "lmrun", *arguments],
        env={**os.environ, "LMRUN_HOME": str(server.home.root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
