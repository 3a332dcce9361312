"""A real server under a service manager that is played by a socket."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, serving


class Listening:
    """The manager's end: messages until one has a name."""

    def __init__(self, socket: socket.socket) -> None:
        self._socket = socket

    def wait_for(self, name: str) -> dict[str, str]:
        while True:
            lines = self._socket.recv(4096).decode().splitlines()
            values = dict(line.split("=", 1) for line in lines)
            if name in values:
                return values


@pytest.fixture
def address() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lmrun-", dir="/tmp") as folder:
        yield f"{folder}/notify"


@pytest.fixture
def manager(address: str) -> Iterator[Listening]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(address)
        opened.settimeout(20)
        yield Listening(opened)


def test_a_server_says_that_it_is_ready_alive_and_stopping(
    tmp_path: Path, address: str, manager: Listening
) -> None:
    write_script(tmp_path / "a.scripted.json")
    profile = write_profile(tmp_path / "p.yaml", {"a": {"source": "file:./a.scripted.json"}})
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "900000"}
    with serving(tmp_path, profile, **environment) as server:
        assert manager.wait_for("READY")["STATUS"].startswith("generation 1: ")
        assert manager.wait_for("WATCHDOG")["STATUS"].startswith("generation 1: ")
        server.end()
        assert manager.wait_for("STOPPING") == {"STOPPING": "1"}


def test_a_server_without_a_profile_is_ready_too(
    tmp_path: Path, address: str, manager: Listening
) -> None:
    with Server(tmp_path, environment={"NOTIFY_SOCKET": address}):
        assert manager.wait_for("READY")["READY"] == "1"


def test_what_was_applied_last_comes_back_when_the_service_is_started_again(
    tmp_path: Path, address: str, manager: Listening
) -> None:
    write_script(tmp_path / "a.scripted.json")
    profile = write_profile(tmp_path / "p.yaml", {"a": {"source": "file:./a.scripted.json"}})
    with serving(tmp_path, profile):
        pass
    with Server(tmp_path, environment={"NOTIFY_SOCKET": address}) as server:
        assert manager.wait_for("READY")["STATUS"].startswith("generation 1: ")
        server.ready("a")
