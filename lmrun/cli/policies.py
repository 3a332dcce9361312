"""Commands about the policy: cases for it, and what was agreed to for good. They know no command's
work, which is imported when its command runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lmrun.cli.options import AsJson, locate_home, open_terminal

policy = typer.Typer(
    name="policy",
    help="Who may run which tool with what.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@policy.command()
def test(
    cases: Annotated[Path, typer.Argument(metavar="CASES", help="A YAML file of cases.")],
    profile: Annotated[
        Path | None,
        typer.Option("--profile", "-p", help="Default: the profile applied last."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge calls by the profile's policy, and show those it judges otherwise than expected.

    Needs no server. Exits 1 unless all are judged as expected.
    """
    from lmrun.cli.commands import policies

    wish = policies.Wish(cases, profile, as_json=as_json)
    raise typer.Exit(
        policies.test(wish, terminal=open_terminal(), home=locate_home(), environment=os.environ)
    )


@policy.command()
def remembered(as_json: AsJson = False) -> None:
    """List the calls that somebody has always agreed to. Needs no server."""
    from lmrun.cli.commands import policies

    policies.remembered(as_json=as_json, terminal=open_terminal(), home=locate_home())


@policy.command()
def forget(
    tool: Annotated[str | None, typer.Argument(metavar="TOOL", help="Default: all tools.")] = None,
) -> None:
    """Ask again about calls that somebody has always agreed to. Needs no server."""
    from lmrun.cli.commands import policies

    policies.forget(tool, terminal=open_terminal(), home=locate_home())
