"""`lmrun mcp`: its commands, arguments and options. It knows no command's work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lmrun.cli.options import AsJson, locate_home, open_terminal

mcp = typer.Typer(
    name="mcp",
    help="MCP servers: what was agreed to, how they are, logging in.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

ServerName = Annotated[str, typer.Argument(metavar="SERVER", help="As the profile calls it.")]


@mcp.command("list")
def list_servers(as_json: AsJson = False) -> None:
    """List the servers of the applied profile, their tools, and what is wrong with them."""
    from lmrun.cli.commands import mcp as servers

    servers.list_servers(as_json=as_json, terminal=open_terminal(), home=locate_home())


@mcp.command()
def approve(
    server: ServerName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to all that is shown.")] = False,
    locked: Annotated[
        bool, typer.Option("--locked", help="Agree to what PROFILE.lock pins, and to nothing else.")
    ] = False,
) -> None:
    """Show what a server is and what its tools say of themselves, and agree to it.

    It is not started before that, and what changes later is not used until it is agreed to again.
    """
    from lmrun.cli.commands import mcp as servers

    if yes and locked:
        raise typer.BadParameter("--yes agrees to more than --locked does", param_hint="--locked")
    consent: servers.Consent = "yes" if yes else "locked" if locked else "ask"
    servers.approve(server, consent, terminal=open_terminal(), home=locate_home())


@mcp.command("import")
def import_servers(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An mcp.json, as LM Studio and Claude have it.")
    ],
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="PROFILE", help="Add the servers to this profile."),
    ] = None,
) -> None:
    """Show the servers of another program's mcp.json as a profile has them. Needs no server.

    What looks like a secret becomes a reference to a variable.
    """
    from lmrun.cli.commands import mcp_import

    mcp_import.import_servers(file, write, terminal=open_terminal(), environment=os.environ)


@mcp.command()
def login(
    server: ServerName,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Ask whether to open one.")
    ] = True,
) -> None:
    """Log in to a remote server that asks for OAuth; what comes of it stays on this machine."""
    from lmrun.cli.commands import mcp as servers

    servers.login(server, may_open=browser, terminal=open_terminal(), home=locate_home())


@mcp.command()
def logout(server: ServerName) -> None:
    """Forget what came of a login: the tokens, and how lmrun is known to the other side."""
    from lmrun.cli.commands import mcp as servers

    servers.logout(server, terminal=open_terminal(), home=locate_home())


@mcp.command()
def answer() -> None:
    """Be there for questions of MCP servers (`elicitation: true`), until Ctrl-C.

    While nobody is there, their questions are declined.
    """
    from lmrun.cli.commands import mcp_answer

    mcp_answer.answer(terminal=open_terminal(), home=locate_home())


@mcp.command()
def serve() -> None:
    """Be an MCP server on standard input and output, for programs that start theirs.

    It offers what the running lmrun offers under /mcp: models to ask, and tools with `export:
    true`.
    """
    from lmrun.cli.commands import mcp_serve

    mcp_serve.serve(home=locate_home())
