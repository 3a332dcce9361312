"""systemd and launchd: the same few things to ask of either. They know nothing of the server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lmrun.cli.service.units import Service, make_agent, make_unit
from lmrun.errors import LmrunError

TIMEOUT_S = 180.0
"""Starting ends when the server says that it is ready."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """`enabled`: it comes with the next login. `active`: it runs now, as `pid`. `said`: the
    manager's own word for it, or why it could not be asked."""

    enabled: bool
    active: bool
    pid: int | None
    said: str


class Manager(Protocol):
    """What starts things at login."""

    name: str

    @property
    def file(self) -> Path:
        """Where it looks for the service."""

    @property
    def content(self) -> bytes:
        """What that file has to say. Raises LmrunError where it cannot be said."""

    def enable(self) -> None:
        """The file is new: start the service at every login. Raises LmrunError."""

    def start(self) -> None:
        """Start the service now, anew if it runs; return when it is ready. Raises LmrunError."""

    def disable(self) -> None:
        """Stop it now, and start it no more. Raises LmrunError."""

    def forget(self) -> None:
        """The file is gone. Raises LmrunError."""

    def state(self) -> ServiceState: ...


class Systemd:
    """A user's systemd."""

    name = "systemd"

    def __init__(self, service: Service, environment: Mapping[str, str]) -> None:
        self._service = service
        self._environment = environment
        self._unit = f"{service.name}.service"

    @property
    def file(self) -> Path:
        base = self._environment.get("XDG_CONFIG_HOME") or ""
        folder = Path(base) if base.startswith("/") else _user_home(self._environment) / ".config"
        return folder / "systemd" / "user" / self._unit

    @property
    def content(self) -> bytes:
        return make_unit(self._service).encode()

    def enable(self) -> None:
        self._ask("daemon-reload")
        self._ask("enable", self._unit)

    def start(self) -> None:
        self._ask("restart", self._unit)

    def disable(self) -> None:
        self._ask("disable", "--now", self._unit)

    def forget(self) -> None:
        self._ask("daemon-reload")

    def state(self) -> ServiceState:
        try:
            shown = self._ask("show", "-p", "ActiveState,UnitFileState,MainPID", self._unit)
        except LmrunError as error:
            return ServiceState(False, False, None, error.message)
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        pid = int(values.get("MainPID") or 0) or None
        said = values.get("ActiveState", "unknown")
        is_enabled = values.get("UnitFileState") == "enabled"
        return ServiceState(is_enabled, said == "active", pid, said)

    def _ask(self, *arguments: str) -> str:
        return _run(
            ("systemctl", "--user", "--no-pager", *arguments),
            self._environment,
            "Log in to a session of your own, or run `loginctl enable-linger`, and try again.",
        )


class Launchd:
    """A user's launchd."""

    name = "launchd"

    def __init__(self, service: Service, environment: Mapping[str, str]) -> None:
        self._service = service
        self._environment = environment
        self._label = f"dev.lmrun.{service.name}"
        self._domain = f"gui/{os.getuid()}"

    @property
    def file(self) -> Path:
        folder = _user_home(self._environment) / "Library" / "LaunchAgents"
        return folder / f"{self._label}.plist"

    @property
    def content(self) -> bytes:
        return make_agent(self._service)

    def enable(self) -> None:
        if self.state().said != _UNKNOWN:
            # What is loaded already would not be read again.
            self._ask("bootout", f"{self._domain}/{self._label}")
        self._ask("enable", f"{self._domain}/{self._label}")
        self._ask("bootstrap", self._domain, str(self.file))

    def start(self) -> None:
        self._ask("kickstart", "-k", f"{self._domain}/{self._label}")

    def disable(self) -> None:
        if self.state().said != _UNKNOWN:
            self._ask("bootout", f"{self._domain}/{self._label}")

    def forget(self) -> None:
        """launchd looks for files at login; nothing needs to be said."""

    def state(self) -> ServiceState:
        try:
            shown = self._ask("print", f"{self._domain}/{self._label}")
        except LmrunError:
            return ServiceState(False, False, None, _UNKNOWN)
        lines = (line.strip().partition(" = ") for line in shown.splitlines())
        values: dict[str, str] = {}
        for name, _, value in lines:
            values.setdefault(name, value)
        pid = values.get("pid", "")
        said = values.get("state", "unknown")
        return ServiceState(True, said == "running", int(pid) if pid.isdecimal() else None, said)

    def _ask(self, *arguments: str) -> str:
        hint = "Log in to a session of your own at this machine, and try again."
        return _run(("launchctl", *arguments), self._environment, hint)


_UNKNOWN = "not loaded"


def _user_home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())


def _run(command: tuple[str, ...], environment: Mapping[str, str], hint: str) -> str:
    """What the command prints. Raises LmrunError with what it says when it fails."""
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environment),
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except FileNotFoundError:
        raise LmrunError(f"There is no {command[0]} on this machine.") from None
    except subprocess.TimeoutExpired:
        raise LmrunError(f"`{shown}` took longer than {TIMEOUT_S:.0f} s.", hint=hint) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise LmrunError(f"`{shown}` failed: {said.rstrip('.')}.", hint=hint)
    return done.stdout
