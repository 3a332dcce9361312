"""`lmrun lock` and `lmrun verify`: pin what a profile means here, and find what has changed since.

Both look at this machine themselves; a server need not run, and is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from lmrun.cli.commands.profiles import locate_profile, shorten_path
from lmrun.cli.failures import EXPECTED, count
from lmrun.cli.terminal import Terminal, paint, printable, show_bytes
from lmrun.errors import LmrunError
from lmrun.failpoints import reach
from lmrun.profile.lock import Lock
from lmrun.store.home import Home

_DOING = {"fetch": "downloading", "verify": "hashing"}


class Display(Protocol):
    """Where the progress of one file after the other is seen."""

    def advance(self, verb: str, what: str, done: int, total: int | None) -> None: ...

    def close(self) -> None: ...


def lock(path: Path, *, terminal: Terminal, home: Home, environment: Mapping[str, str]) -> None:
    """Write the lock file beside the profile. Raises LmrunError, and leaves a former one then."""
    # Imported late: the server's side of the house takes its time.
    from lmrun.profile.loader import load_profile
    from lmrun.profile.lock import lock_path, write_lock
    from lmrun.reconcile.pinning import open_catalog, pin
    from lmrun.store.atomic import write_atomic
    from lmrun.tools.mcp.pins.locking import open_pinner

    file = locate_profile(path)
    loaded = load_profile(file, environment)
    home.ensure()
    with _showing(terminal) as display, open_pinner(home, environment) as approved:
        catalog, servers = open_catalog(home), approved.pin_approved
        pinned = asyncio.run(
            pin(loaded, catalog, display.advance, fetches=True, pin_servers=servers)
        )
    where = lock_path(file)
    reach("lock.pinned")
    write_atomic(where, write_lock(pinned.lock).encode(), mode=0o644)
    files = [it for model in pinned.lock.models.values() for it in model.files]
    size = show_bytes(sum(it.size for it in files))
    terminal.show(
        f"{shorten_path(str(where))}: {count(len(files), 'file')} ({size}), "
        f"{count(len(pinned.lock.packages), 'package')}{_count_servers(pinned.lock)}"
    )


def verify(
    path: Path | None,
    *,
    as_json: bool,
    terminal: Terminal,
    home: Home,
    environment: Mapping[str, str],
) -> int:
    """Show every difference from the lock file and return the exit code: 1 when there is one.

    Nothing is fetched, nothing believed that was known before. Raises LmrunError.
    """
    import msgspec

    from lmrun.profile.loader import load_profile
    from lmrun.profile.lock import compare, lock_path
    from lmrun.reconcile.pinning import open_catalog, pin, read_lock
    from lmrun.tools.mcp.pins.locking import open_pinner

    file = locate_profile(path) if path else find_applied(home)
    where = lock_path(file)
    locked = read_lock(where)
    loaded = load_profile(file, environment)
    with _showing(terminal) as display, open_pinner(home, environment) as approved:
        catalog, servers = open_catalog(home), approved.pin_present
        found = asyncio.run(
            pin(loaded, catalog, display.advance, fetches=False, pin_servers=servers)
        )
    differences = compare(locked, found.lock, found.places)
    if as_json:
        terminal.show(msgspec.json.encode({"differences": differences}).decode())
    elif differences:
        terminal.show("\n".join(paint(printable(f"! {it}"), "bad") for it in differences))
        summary = f"{count(len(differences), 'difference')} from {where}."
        terminal.tell(f"{paint('Error:', 'bad')} {summary}")
    else:
        terminal.show(f"All is as {shorten_path(str(where))} has it.")
    return EXPECTED if differences else 0


def find_applied(home: Home) -> Path:
    """The profile applied last. Raises LmrunError when there is none."""
    from lmrun.store.generations import Generations

    newest = None
    if home.database.exists():
        generations = Generations(home.database)
        newest = generations.newest()
        generations.close()
    if newest is None:
        raise LmrunError("No profile has been applied.", hint="Name one: `lmrun verify PROFILE`.")
    return locate_profile(Path(newest.root))


def _count_servers(lock: Lock) -> str:
    tools = sum(len(server.tools) for server in lock.mcp_servers.values())
    servers = count(len(lock.mcp_servers), "MCP server")
    return f", {servers} ({count(tools, 'tool')})" if lock.mcp_servers else ""


@contextmanager
def _showing(terminal: Terminal) -> Iterator[Display]:
    from lmrun.cli.commands.progress import FileBars

    display: Display = FileBars() if terminal.is_live else _Lines(terminal)
    try:
        yield display
    finally:
        display.close()


class _Lines:
    """One line per file and kind of work."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._told: tuple[str, str] | None = None

    def advance(self, verb: str, what: str, done: int, total: int | None) -> None:
        if self._told != (verb, what):
            self._told = (verb, what)
            size = f" ({show_bytes(total)})" if total else ""
            self._terminal.tell(f"  {what}: {_DOING[verb]}{size}")

    def close(self) -> None:
        pass
