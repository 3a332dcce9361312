"""What a service manager is told, over a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmrun.reconcile.service_manager import ServiceManager


class Ear:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(10)

    def hear(self) -> dict[str, str]:
        """The next message."""
        lines = self._socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def is_silent(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    opened = Ear(str(tmp_path / "notify"))
    yield opened
    opened.close()


def test_what_is_told_arrives_one_value_a_line(ear: Ear, tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "notify")).tell(READY="1", STATUS="all\nis  well")
    assert ear.hear() == {"READY": "1", "STATUS": "all is well"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
def test_an_abstract_socket_is_one_too() -> None:
    name = f"lmrun-test-{os.getpid()}"
    ear = Ear(f"\0{name}")
    ServiceManager(f"@{name}").tell(READY="1")
    assert ear.hear() == {"READY": "1"}
    ear.close()


def test_the_environment_names_the_manager_for_this_process_alone() -> None:
    environment = {
        "PATH": "/bin",
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "60000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    assert ServiceManager.take(environment) == ServiceManager("/run/notify", 60.0)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"WATCHDOG_USEC": "60000000"}],
)
def test_without_a_socket_nobody_is_told(environment: dict[str, str]) -> None:
    manager = ServiceManager.take(environment)
    manager.tell(READY="1")
    assert manager == ServiceManager()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_of_somebody_else_or_none_wants_no_pings(variables: dict[str, str]) -> None:
    assert ServiceManager.take({"NOTIFY_SOCKET": "/n", **variables}).watchdog_s is None


def test_a_manager_that_has_gone_does_not_disturb(tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "nobody")).tell(READY="1")


def run_for(work: asyncio.Future[None] | object, seconds: float) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await work  # type: ignore[misc]

    with pytest.raises(TimeoutError):
        asyncio.run(bounded())


def test_a_reconciler_that_looks_keeps_the_watchdog_quiet(ear: Ear, tmp_path: Path) -> None:
    woken: list[int] = []
    manager = ServiceManager(str(tmp_path / "notify"), watchdog_s=0.3)
    work = manager.keep_alive(lambda: woken.append(1), lambda: bool(woken), lambda: "fine")
    run_for(work, 0.6)
    assert ear.hear() == {"WATCHDOG": "1", "STATUS": "fine"}
    assert ear.hear()["WATCHDOG"] == "1"


def test_a_reconciler_that_hangs_is_not_called_alive(ear: Ear, tmp_path: Path) -> None:
    manager = ServiceManager(str(tmp_path / "notify"), watchdog_s=0.3)
    run_for(manager.keep_alive(lambda: None, lambda: False, lambda: "fine"), 0.5)
    assert ear.is_silent()
