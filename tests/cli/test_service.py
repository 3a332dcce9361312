"""`lmrun service`: what it writes, asks and tells. systemctl is played by a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmrun.cli.commands.service import Place, choose_manager
from lmrun.cli.service.managers import Launchd
from lmrun.cli.terminal import Terminal
from lmrun.errors import LmrunError
from lmrun.store.home import Home
from lmrun.store.locks import FileLock
from tests.cli.conftest import Run
from tests.cli.service.test_managers import play
from tests.support.server import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is systemd that is played")

RUNNING = "printf 'MainPID=42\\nActiveState=active\\nUnitFileState=enabled\\n'"


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, environment: dict[str, str]) -> Path:
    """Before any command runs: no test may reach this machine's own systemd."""
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    return play(tmp_path, "systemctl", RUNNING)


@pytest.fixture
def unit(home: Path, environment: dict[str, str]) -> Path:
    """Where the unit belongs; the home is not the default one, so it has a name of its own."""
    place = Place(Terminal(), Home(home), environment)
    return choose_manager(place, "linux").file


@pytest.fixture
def running(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the home, as a server does."""
    Home(home).ensure()
    program = (
        "import sys, time; from pathlib import Path; from lmrun.store.locks import FileLock\n"
        "assert FileLock(Path(sys.argv[1])).try_acquire(); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(Home(home).lock_file)])
    eventually(lambda: FileLock(Home(home).lock_file).holder() == process.pid)
    yield process
    process.kill()
    process.wait(5)


def test_a_dry_run_shows_the_unit_and_changes_nothing(lmrun: Run, unit: Path, notes: Path) -> None:
    result = lmrun("service", "install", "--dry-run")
    assert result.code == 0
    assert "Type=notify" in result.out
    assert str(unit) in result.err
    assert not unit.exists()
    assert notes.read_text() == ""


def test_the_service_is_written_enabled_and_started(lmrun: Run, unit: Path, notes: Path) -> None:
    result = lmrun("service", "install")
    assert result.code == 0, result.err
    shown = lmrun("service", "install", "--dry-run").out
    assert unit.read_text() == shown
    asked = [line.split("--no-pager ")[1] for line in notes.read_text().splitlines()]
    wanted = ["daemon-reload", f"enable {unit.name}", f"restart {unit.name}"]
    assert [it for it in asked if not it.startswith("show")] == wanted


def test_installing_again_is_harmless(lmrun: Run, unit: Path) -> None:
    lmrun("service", "install")
    before = unit.read_bytes()
    assert lmrun("service", "install").code == 0
    assert unit.read_bytes() == before


def test_a_unit_of_somebody_elses_is_left_alone(lmrun: Run, unit: Path) -> None:
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    for command in ("install", "uninstall"):
        result = lmrun("service", command)
        assert result.code == 1
        assert "was not written by lmrun" in result.err
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_what_cannot_be_enabled_leaves_nothing_behind(
    lmrun: Run, unit: Path, tmp_path: Path, notes: Path
) -> None:
    play(tmp_path, "systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    result = lmrun("service", "install")
    assert result.code == 1
    assert "Failed to connect to bus" in result.err
    assert not unit.exists()


def test_a_server_that_runs_is_ended_only_with_consent(
    lmrun: Run, unit: Path, running: subprocess.Popen[bytes]
) -> None:
    result = lmrun("service", "install")
    assert result.code == 1
    assert f"pid {running.pid}" in result.err
    assert not unit.exists()
    assert running.poll() is None


def test_with_consent_the_service_takes_over_from_a_server_that_runs(
    home: Path, environment: dict[str, str], unit: Path, running: subprocess.Popen[bytes]
) -> None:
    command = [sys.executable, "-P", "-m", "lmrun", "service", "install", "--yes"]
    installing = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    # Reaping it here is what init does for a real server.
    assert running.wait(20) < 0
    assert installing.wait(20) == 0
    assert unit.exists()


def test_uninstalling_stops_the_service_and_removes_its_file(
    lmrun: Run, unit: Path, notes: Path
) -> None:
    lmrun("service", "install")
    notes.write_text("")
    result = lmrun("service", "uninstall")
    assert result.code == 0
    assert not unit.exists()
    assert [line.split("--no-pager ")[1] for line in notes.read_text().splitlines()] == [
        f"disable --now {unit.name}",
        "daemon-reload",
    ]
    assert lmrun("service", "uninstall").out == "No service is installed.\n"


def test_the_status_says_whether_it_is_installed_and_runs(lmrun: Run, unit: Path) -> None:
    result = lmrun("service", "status")
    assert result.code == 1
    assert "not installed" in result.out
    lmrun("service", "install")
    result = lmrun("service", "status", "--json")
    assert result.code == 0
    assert json.loads(result.out) == {
        "manager": "systemd",
        "file": str(unit),
        "installed": True,
        "enabled": True,
        "active": True,
        "pid": 42,
        "said": "active",
    }


def test_each_system_has_its_own_manager(home: Path, environment: dict[str, str]) -> None:
    place = Place(Terminal(), Home(home), environment)
    assert isinstance(choose_manager(place, "darwin"), Launchd)
    with pytest.raises(LmrunError, match="no service manager of win32"):
        choose_manager(place, "win32")
    default = Place(Terminal(), Home(Path(environment["HOME"]) / ".lmrun"), environment)
    assert choose_manager(default, "linux").file.name == "lmrun.service"


def test_the_service_is_this_very_installation(lmrun: Run, unit: Path) -> None:
    out = lmrun("service", "install", "--dry-run").out
    assert f'ExecStart="{sys.executable}" "-P" "-m" "lmrun" "serve"' in out
    assert os.path.isabs(sys.executable)
