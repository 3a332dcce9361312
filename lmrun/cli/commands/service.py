"""`lmrun service`: a server that comes with the login, with what was applied last.

It asks and tells; how a service manager is spoken to is handed in.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lmrun.cli.background import find_server, wait_until_stopped
from lmrun.cli.commands.profiles import shorten_path
from lmrun.cli.failures import EXPECTED
from lmrun.cli.service.managers import Launchd, Manager, ServiceState, Systemd
from lmrun.cli.service.units import MARK, Service, name_service
from lmrun.cli.terminal import Terminal, align, paint, printable
from lmrun.errors import LmrunError
from lmrun.store.atomic import write_atomic
from lmrun.store.failures import storing
from lmrun.store.home import Home, find_home


@dataclass(frozen=True, slots=True)
class Place:
    """Where the command was given."""

    terminal: Terminal
    home: Home
    environment: Mapping[str, str]


def choose_manager(
    place: Place, platform: str = sys.platform, executable: str = sys.executable
) -> Manager:
    """The service manager of this system, for the server of this home. Raises LmrunError where
    lmrun knows none."""
    default = find_home({name: it for name, it in place.environment.items() if name == "HOME"})
    home = place.home
    service = Service(
        name=name_service(home.root, default.root),
        # -P: the working directory is no place to import from.
        command=(executable, "-P", "-m", "lmrun", "serve"),
        home=home.root,
        log=home.server_log,
    )
    if platform == "darwin":
        return Launchd(service, place.environment)
    if platform.startswith("linux"):
        return Systemd(service, place.environment)
    raise LmrunError(f"lmrun knows no service manager of {platform}.")


def install(manager: Manager, place: Place, *, dry_run: bool, is_agreed: bool) -> None:
    """Write the file, enable the service and start it. Raises LmrunError, and leaves nothing new
    behind when it cannot be enabled."""
    content = manager.content
    if dry_run:
        place.terminal.tell(paint(f"{manager.file}:", "dim"))
        place.terminal.show(content.decode().rstrip("\n"))
        return
    former = _read_former(manager.file)
    running = find_server(place.home)
    state = manager.state()
    if running is not None and running != state.pid:
        _require_consent(running, place.terminal, is_agreed=is_agreed)
    place.home.ensure()
    with storing(manager.file.parent, "create"):
        manager.file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(manager.file, content, mode=0o644)
    try:
        manager.enable()
    except LmrunError:
        _put_back(manager.file, former)
        raise
    if running is not None and running != state.pid:
        os.kill(running, signal.SIGTERM)
        wait_until_stopped(place.home, running)
    manager.start()
    place.terminal.show(
        f"{paint('Installed:', 'good')} {shorten_path(str(manager.file))}; "
        "it runs, and comes with every login."
    )
    place.terminal.tell(
        paint(f"Variables of the profile go into {place.home.root / 'service.env'}.", "dim")
    )


def uninstall(manager: Manager, place: Place) -> None:
    """Stop the service and remove its file; no file is no failure. Raises LmrunError."""
    if _read_former(manager.file) is None:
        place.terminal.show("No service is installed.")
        return
    manager.disable()
    with storing(manager.file, "remove"):
        manager.file.unlink(missing_ok=True)
    manager.forget()
    place.terminal.show(f"Removed: {shorten_path(str(manager.file))}")


def status(manager: Manager, place: Place, *, as_json: bool) -> int:
    """Show the service's state and return the exit code: 1 when it is not installed or does not
    run."""
    is_installed = _is_ours(manager.file)
    state = manager.state()
    if as_json:
        import msgspec

        content = {
            "manager": manager.name,
            "file": str(manager.file),
            "installed": is_installed,
            **asdict(state),
        }
        place.terminal.show(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())
    else:
        place.terminal.show(render_state(manager, state, is_installed=is_installed))
    return 0 if is_installed and state.active else EXPECTED


def render_state(manager: Manager, state: ServiceState, *, is_installed: bool) -> str:
    pid = f" (pid {state.pid})" if state.pid is not None else ""
    rows = [
        ("service", manager.name),
        ("file", f"{shorten_path(str(manager.file))}{'' if is_installed else ', not installed'}"),
        ("at login", "yes" if state.enabled else "no"),
        ("now", printable(f"{state.said}{pid}")),
    ]
    return "\n".join(align(rows))


def _require_consent(pid: int, terminal: Terminal, *, is_agreed: bool) -> None:
    """Raises LmrunError when nobody agrees to end a running server."""
    what = f"This ends the running server (pid {pid}), which then comes back as a service"
    if is_agreed:
        return
    if not terminal.can_ask:
        raise LmrunError(f"{what}; nothing was changed.", hint="--yes agrees to it.")
    if not terminal.ask(f"{what}. Go on?"):
        raise LmrunError("Nothing was changed.")


def _read_former(file: Path) -> bytes | None:
    """The file that an earlier install wrote; None for none. Raises LmrunError for another's."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LmrunError(f"cannot read {file}: {error.strerror}.") from error
    if MARK.encode() not in content:
        raise LmrunError(
            f"{file} was not written by lmrun.", hint="Move it away, or keep it and use it."
        )
    return content


def _is_ours(file: Path) -> bool:
    try:
        return MARK.encode() in file.read_bytes()
    except OSError:
        return False


def _put_back(file: Path, former: bytes | None) -> None:
    if former is None:
        file.unlink(missing_ok=True)
    else:
        write_atomic(file, former, mode=0o644)
