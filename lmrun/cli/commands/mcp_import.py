"""`lmrun mcp import`: another program's servers, shown as YAML or added to a profile."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path

from lmrun.cli.commands.profiles import locate_profile, shorten_path
from lmrun.cli.failures import count
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.errors import LmrunError

MAX_BYTES = 4 * 2**20


def import_servers(
    file: Path, profile: Path | None, *, terminal: Terminal, environment: Mapping[str, str]
) -> None:
    """Show the servers of `file`, or add them to `profile`, and say what has to be done for them.
    Raises LmrunError, and leaves the profile as it was then."""
    # Imported late: checking what a profile may say takes its time.
    from lmrun.profile.tooling.imported import ImportRefused, convert
    from lmrun.profile.writing.sections import SectionRefused, add_members, write_section

    try:
        imported = convert(_read(file))
    except ImportRefused as refused:
        raise LmrunError(
            f"{file}: {refused}",
            hint='It should be an mcp.json: `{"mcpServers": {"time": {"command": …}}}`.',
        ) from None
    if profile is None:
        terminal.show(write_section("mcp_servers", imported.servers))
    else:
        where = locate_profile(profile)
        text = _read_text(where)
        try:
            changed = add_members(text, "mcp_servers", imported.servers)
        except SectionRefused as refused:
            raise LmrunError(
                f"{where}: {refused}", hint="Without --write they are shown."
            ) from None
        _write(where, changed)
        added = count(len(imported.servers), "server")
        terminal.show(f"Added {added} to {shorten_path(str(where))}.")
    for note in imported.notes:
        terminal.tell(paint(f"! {printable(note)}", "change"))
    for variable, server in imported.variables.items():
        state = "" if variable in environment else "; it is not set here"
        terminal.tell(f"{variable}: set it for {printable(server)}{state}.")


def _read(file: Path) -> object:
    content = _read_text(file)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LmrunError(f"{file} is no JSON: {error}.") from None


def _read_text(file: Path) -> str:
    try:
        with open(file, "rb") as opened:
            return opened.read(MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise LmrunError(f"{file}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise LmrunError(f"{file} is no text in UTF-8.") from None


def _write(profile: Path, text: str) -> None:
    from lmrun.store.atomic import write_atomic

    where = profile.resolve()
    write_atomic(where, text.encode(), mode=stat.S_IMODE(where.stat().st_mode))
