"""How git is run: with which environment, and for how long."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from pathlib import Path

import pytest

from lmrun.errors import GitFailed
from lmrun.reconcile.git.command import Git, make_environment
from tests.support.server import eventually, is_alive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asyncio.run(Git(tmp_path / "r.git", os.environ).run("init", "--bare", "--quiet"))
    return tmp_path / "r.git"


def play_git(folder: Path, script: str) -> dict[str, str]:
    """An environment whose `git` is `script`."""
    program = folder / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_variables_that_lead_git_elsewhere_or_ask_somebody_are_dropped() -> None:
    environment = make_environment(
        {
            "PATH": "/bin",
            "GIT_DIR": "/elsewhere",
            "GIT_CONFIG_PARAMETERS": "'core.sshCommand=evil'",
            "GIT_ALLOW_PROTOCOL": "ext",
            "GIT_ASKPASS": "/bin/ask",
            "SSH_ASKPASS": "/bin/ask",
            "GIT_SSH_COMMAND": "ssh -i key",
            "GIT_CONFIG_GLOBAL": "/g",
        }
    )
    assert environment == {
        "PATH": "/bin",
        "GIT_SSH_COMMAND": "ssh -i key",
        "GIT_CONFIG_GLOBAL": "/g",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def test_other_protocols_are_off_even_where_the_users_configuration_has_them_on(
    folder: Path, tmp_path: Path
) -> None:
    configuration = tmp_path / "gitconfig"
    marker = tmp_path / "executed"
    git = Git(folder, {**os.environ, "GIT_CONFIG_GLOBAL": str(configuration)})
    for text in ("[protocol]\n allow = always\n", '[protocol "ext"]\n allow = always\n'):
        configuration.write_text(text)
        with pytest.raises(GitFailed, match="transport 'ext' not allowed"):
            asyncio.run(git.run("fetch", "--", f"ext::sh -c touch% {marker}", "main"))
    assert not marker.exists()


def test_what_git_says_of_a_failure_is_told_without_credentials(folder: Path) -> None:
    with pytest.raises(GitFailed) as caught:
        asyncio.run(
            Git(folder, os.environ).run("fetch", "--", "file:///user:secret@x/nowhere", "main")
        )
    assert caught.value.message.startswith("`git fetch` failed: ")
    with pytest.raises(GitFailed) as caught:
        asyncio.run(Git(folder, os.environ).run("fetch", "--", "http://u:secret@h.test/x", "main"))
    assert "secret" not in str(caught.value)


def test_a_git_that_hangs_is_ended_with_all_that_it_started(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    environment = play_git(tmp_path, f"sleep 600 & echo $! > {marker}; wait")
    began = time.monotonic()
    with pytest.raises(GitFailed, match="longer than 1 s"):
        asyncio.run(Git(folder, environment).run("fetch", timeout_s=1.0))
    assert time.monotonic() - began < 10
    child = int(marker.read_text())
    eventually(lambda: not is_alive(child))


def test_a_git_that_prints_without_end_is_ended(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmrun.reconcile.git.command.MAX_OUTPUT_BYTES", 1_000_000)
    environment = play_git(tmp_path, "exec yes")
    with pytest.raises(GitFailed, match="more than 1000000 bytes"):
        asyncio.run(Git(folder, environment).run("ls-tree"))


def test_without_git_one_is_asked_for(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(GitFailed, match="git cannot be started") as caught:
        asyncio.run(Git(folder, {"PATH": str(empty)}).run("version"))
    assert caught.value.hint == "Install git."
