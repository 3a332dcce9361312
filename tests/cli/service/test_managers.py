"""What systemd and launchd are asked, played by programs that write it down."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmrun.cli.service.managers import Launchd, Systemd
from lmrun.cli.service.units import Service
from lmrun.errors import LmrunError


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path / "me")}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service("lmrun", ("python", "serve"), tmp_path, tmp_path / "log")


def play(folder: Path, name: str, script: str = "") -> Path:
    """A program that notes its arguments and then does `script`; the file of its notes."""
    notes = folder / f"{name}.notes"
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "$@" >> {notes}\n{script}\n')
    program.chmod(0o755)
    notes.write_text("")
    return notes


def test_systemd_reads_the_units_of_the_user(environment: dict[str, str], service: Service) -> None:
    assert Systemd(service, environment).file == (
        Path(environment["HOME"]) / ".config/systemd/user/lmrun.service"
    )
    elsewhere = {**environment, "XDG_CONFIG_HOME": "/c"}
    assert Systemd(service, elsewhere).file == Path("/c/systemd/user/lmrun.service")


def test_systemd_reads_its_files_again_before_it_enables(
    tmp_path: Path, environment: dict[str, str], service: Service
) -> None:
    notes = play(tmp_path, "systemctl")
    manager = Systemd(service, environment)
    manager.enable()
    manager.start()
    manager.disable()
    manager.forget()
    assert notes.read_text().splitlines() == [
        "--user --no-pager daemon-reload",
        "--user --no-pager enable lmrun.service",
        "--user --no-pager restart lmrun.service",
        "--user --no-pager disable --now lmrun.service",
        "--user --no-pager daemon-reload",
    ]


def test_systemd_tells_whether_the_service_runs(
    tmp_path: Path, environment: dict[str, str], service: Service
) -> None:
    play(
        tmp_path, "systemctl", "printf 'MainPID=42\\nActiveState=active\\nUnitFileState=enabled\\n'"
    )
    state = Systemd(service, environment).state()
    assert (state.enabled, state.active, state.pid, state.said) == (True, True, 42, "active")
    play(tmp_path, "systemctl", "printf 'MainPID=0\\nActiveState=inactive\\nUnitFileState=\\n'")
    state = Systemd(service, environment).state()
    assert (state.enabled, state.active, state.pid, state.said) == (False, False, None, "inactive")


def test_what_systemd_says_of_a_failure_is_told_with_a_way_out(
    tmp_path: Path, environment: dict[str, str], service: Service
) -> None:
    play(tmp_path, "systemctl", "echo 'Failed to connect to bus: No medium found' >&2; exit 1")
    manager = Systemd(service, environment)
    with pytest.raises(LmrunError, match="Failed to connect to bus: No medium found") as caught:
        manager.enable()
    assert "enable-linger" in str(caught.value.hint)
    assert "Failed to connect to bus" in manager.state().said


def test_without_systemctl_that_is_said(tmp_path: Path, service: Service) -> None:
    empty = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    with pytest.raises(LmrunError, match="no systemctl on this machine"):
        Systemd(service, empty).enable()


def test_launchd_forgets_an_older_agent_before_it_reads_the_new_one(
    tmp_path: Path, environment: dict[str, str], service: Service
) -> None:
    notes = play(tmp_path, "launchctl", "printf '\\tstate = running\\n\\tpid = 42\\n'")
    manager = Launchd(service, environment)
    manager.enable()
    manager.start()
    domain = f"gui/{os.getuid()}"
    assert notes.read_text().splitlines() == [
        f"print {domain}/dev.lmrun.lmrun",
        f"bootout {domain}/dev.lmrun.lmrun",
        f"enable {domain}/dev.lmrun.lmrun",
        f"bootstrap {domain} {manager.file}",
        f"kickstart -k {domain}/dev.lmrun.lmrun",
    ]
    state = manager.state()
    assert (state.enabled, state.active, state.pid) == (True, True, 42)


def test_an_agent_that_launchd_does_not_know_is_not_loaded(
    tmp_path: Path, environment: dict[str, str], service: Service
) -> None:
    notes = play(tmp_path, "launchctl", "test $1 != print")
    manager = Launchd(service, environment)
    assert manager.state().said == "not loaded"
    manager.disable()
    assert "bootout" not in notes.read_text()
