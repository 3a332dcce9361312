"""What a service manager reads: a systemd user unit, a launchd agent. Pure: values → text."""

from __future__ import annotations

import hashlib
import plistlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmrun.errors import LmrunError

MARK = "Written by `lmrun service install`"
"""Stands in every file that may be overwritten or removed."""
WATCHDOG_S = 60
STOP_S = 90
"""Longer than a server takes to end by itself at most."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is to be kept running. `command`: its words; `home`: LMRUN_HOME, absolute; `log`: where
    its output goes where the service manager keeps none."""

    name: str
    command: Sequence[str]
    home: Path
    log: Path

    @property
    def variables(self) -> Path:
        """A file of `NAME=value` lines for what the profile asks of the environment."""
        return self.home / "service.env"


def name_service(home: Path, default: Path) -> str:
    """`lmrun`, or, for another home than the default one, a name of its own."""
    if home == default:
        return "lmrun"
    return f"lmrun-{hashlib.sha256(bytes(home)).hexdigest()[:8]}"


def make_unit(service: Service) -> str:
    """A systemd user unit. Raises LmrunError for paths that no unit can name.

    Format: systemd.unit(5), systemd.service(5), systemd.exec(5).
    """
    command = " ".join(_quote_word(word) for word in service.command)
    return f"""\
# {MARK}; what is changed here is lost with the next one.

[Unit]
Description=lmrun: local language models from one profile
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Environment={_quote(f"LMRUN_HOME={service.home}")}
EnvironmentFile=-{_escape_path(service.variables)}
WatchdogSec={WATCHDOG_S}
Restart=on-failure
RestartSec=5
TimeoutStopSec={STOP_S}
# A worker that takes too much memory is lmrun's own affair: the others go on.
OOMPolicy=continue
# Workers end with the server, which lets running requests finish first.
KillMode=mixed
UMask=0077
LimitCORE=0
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


def make_agent(service: Service) -> bytes:
    """A launchd agent, as a property list. Format: launchd.plist(5)."""
    content = {
        "Label": f"dev.lmrun.{service.name}",
        "Comment": MARK,
        "ProgramArguments": list(service.command),
        "EnvironmentVariables": {"LMRUN_HOME": str(service.home)},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 5,
        "ExitTimeOut": STOP_S,
        "ProcessType": "Interactive",
        "Umask": 0o077,
        "StandardOutPath": str(service.log),
        "StandardErrorPath": str(service.log),
    }
    return plistlib.dumps(content, sort_keys=True)


def _quote_word(word: str) -> str:
    """A word of a command line, where `$` would name a variable."""
    return _quote(word).replace("$", "$$")


def _quote(text: str) -> str:
    if not text.isprintable():
        raise LmrunError(f"{text!r} has characters that no unit can hold.")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _escape_path(path: Path) -> str:
    """A path that takes the rest of its line."""
    if not str(path).isprintable():
        raise LmrunError(f"{str(path)!r} has characters that no unit can hold.")
    return str(path).replace("%", "%%")
