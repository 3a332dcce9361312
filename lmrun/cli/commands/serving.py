"""`lmrun serve`: what the server begins with, from the command line. It starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from lmrun.cli.commands.profiles import locate_profile
from lmrun.errors import SourceInvalid
from lmrun.process import Beginning
from lmrun.settings.git_source import GitSource, make_git_source


@dataclass(frozen=True, slots=True)
class Repository:
    """The options that say which repository to follow. `url`: None for none."""

    url: str | None
    ref: str
    path: str
    interval: str
    require_signed: bool


def read_beginning(
    profile: Path | None, repository: Repository, *, watch: bool, background: bool
) -> Beginning:
    """Raises typer.BadParameter for options that exclude each other or mean nothing, and LmrunError
    for a profile that is not there."""
    if repository.url is None:
        if repository.require_signed:
            raise typer.BadParameter("needs --git", param_hint="--require-signed")
        file = locate_profile(profile) if profile else None
        return Beginning(file, watch=watch, background=background)
    if profile is not None or watch:
        what = "PROFILE" if profile is not None else "--watch"
        raise typer.BadParameter(f"{what} and --git exclude each other", param_hint="--git")
    return Beginning(git=_read_source(repository, repository.url), background=background)


def _read_source(repository: Repository, url: str) -> GitSource:
    try:
        return make_git_source(
            url,
            repository.ref,
            repository.path,
            repository.interval,
            require_signed=repository.require_signed,
        )
    except SourceInvalid as error:
        raise typer.BadParameter(str(error)) from None
