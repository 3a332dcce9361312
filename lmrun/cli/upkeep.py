"""Commands that look after what was applied: its history, its lock file, its service.

They know no command's work, which is imported when its command runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lmrun.cli.options import AsJson, ProfilePath, answer_in_json, locate_home, open_terminal

service = typer.Typer(
    name="service",
    help="A server that comes with the login, with what was applied last.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def add_upkeep(app: typer.Typer) -> None:
    """Let `app` have these commands."""
    for command in (history, rollback, lock, verify):
        app.command()(command)
    app.add_typer(service)


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


@service.command()
def install(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the file; change nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Agree to restart a server that runs.")
    ] = False,
) -> None:
    """Write a systemd user unit or a launchd agent, enable it and start it."""
    from lmrun.cli.commands import service as services

    place = services.Place(open_terminal(), locate_home(), os.environ)
    manager = services.choose_manager(place)
    services.install(manager, place, dry_run=dry_run, is_agreed=yes)


@service.command()
def uninstall() -> None:
    """Stop the service and remove its file."""
    from lmrun.cli.commands import service as services

    place = services.Place(open_terminal(), locate_home(), os.environ)
    services.uninstall(services.choose_manager(place), place)


@service.command("status")
def service_status(as_json: AsJson = False) -> None:
    """Show whether the service is installed and runs."""
    from lmrun.cli.commands import service as services

    place = services.Place(open_terminal(), locate_home(), os.environ)
    raise typer.Exit(services.status(services.choose_manager(place), place, as_json=as_json))
