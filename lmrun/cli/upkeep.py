"""Commands that look after what was applied: its history, its lock file, its service.

They know no command's work, which is imported when its command runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lmrun.cli.options import AsJson, ProfilePath, answer_in_json, locate_home, open_terminal


def add_upkeep(app: typer.Typer) -> None:
    """Let `app` have these commands."""
    for command in (history, rollback, lock, verify):
        app.command()(command)


def history(as_json: AsJson = False) -> None:
    """List what was applied: who, when, the plan and what came of it. Needs no server."""
    from lmrun.cli.commands import generations

    generations.history(as_json=as_json, terminal=open_terminal(), home=locate_home())


def rollback(
    generation: Annotated[
        int | None,
        typer.Argument(
            metavar="N", min=1, help="Default: the last that converged before the current one."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to unload models.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", callback=answer_in_json, help="Print events as JSON lines."),
    ] = False,
) -> None:
    """Apply an earlier generation again, with its variables as they are now."""
    from lmrun.cli.commands import generations

    wish = generations.Return(generation, is_agreed=yes, as_json=as_json)
    generations.rollback(wish, terminal=open_terminal(), home=locate_home(), environment=os.environ)


def lock(profile: ProfilePath) -> None:
    """Write PROFILE.lock: hashes of all files, versions of all packages. Needs no server."""
    from lmrun.cli.commands import locks

    locks.lock(profile, terminal=open_terminal(), home=locate_home(), environment=os.environ)


def verify(
    profile: Annotated[
        Path | None,
        typer.Argument(metavar="PROFILE", help="Default: the profile applied last."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hash everything again and name what differs from PROFILE.lock. Needs no server."""
    from lmrun.cli.commands import locks

    raise typer.Exit(
        locks.verify(
            profile,
            as_json=as_json,
            terminal=open_terminal(),
            home=locate_home(),
            environment=os.environ,
        )
    )
