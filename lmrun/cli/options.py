"""Arguments and options that several commands share, and what every command begins with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lmrun.cli.failures import Reporting
from lmrun.cli.terminal import Terminal
from lmrun.store.home import Home, find_home

reporting = Reporting()
"""How failures of the command that runs now are shown."""


def open_terminal() -> Terminal:
    return Terminal.detect(os.environ)


def locate_home() -> Home:
    return find_home(os.environ)


def answer_in_json(wanted: bool) -> bool:
    """Show failures as JSON, too; the callback of `--json`."""
    reporting.as_json = wanted
    return wanted


ProfilePath = Annotated[Path, typer.Argument(metavar="PROFILE", help="The profile, a YAML file.")]
AsJson = Annotated[
    bool, typer.Option("--json", callback=answer_in_json, help="Print JSON, also of a failure.")
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="RESOURCE",
        help="An MCP server's, read before: mcp/docs/note://a; several times.",
    ),
]
