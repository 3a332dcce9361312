"""`lmrun serve`: which options go together, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from lmrun.cli.commands.serving import Repository, read_beginning
from lmrun.process import Beginning
from lmrun.settings.git_source import GitSource
from tests.cli.conftest import Run


def repository(url: str | None = None, *, require_signed: bool = False) -> Repository:
    return Repository(url, "main", "profile.yaml", "30s", require_signed)


def test_a_repository_can_be_followed() -> None:
    beginning = read_beginning(
        None, repository("/srv/p.git", require_signed=True), watch=False, background=False
    )
    assert beginning == Beginning(
        git=GitSource("/srv/p.git", "main", "profile.yaml", 30.0, require_signed=True)
    )


def test_a_profile_and_a_repository_exclude_each_other(profile: Path) -> None:
    for file, watch in ((profile, False), (None, True)):
        with pytest.raises(typer.BadParameter, match="exclude each other"):
            read_beginning(file, repository("/srv/p.git"), watch=watch, background=False)


def test_signatures_without_a_repository_mean_nothing() -> None:
    with pytest.raises(typer.BadParameter, match="needs --git"):
        read_beginning(None, repository(require_signed=True), watch=False, background=False)


@pytest.mark.parametrize(
    "options",
    [
        ("--git", "ext::sh -c touch% x"),
        ("--git", "/srv/p.git", "--ref", "--upload-pack=x"),
        ("--git", "/srv/p.git", "--interval", "soon"),
        ("--git", "/srv/p.git", "--path", "../p.yaml"),
    ],
)
def test_what_git_must_not_see_is_wrong_usage(lmrun_process: Run, options: tuple[str, ...]) -> None:
    result = lmrun_process("serve", *options)
    assert result.code == 2
    assert options[-2] in result.err
