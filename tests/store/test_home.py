"""The home directory: where it is, who may write to it, how long its socket's name is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmrun.errors import StoreError
from lmrun.store.home import MAX_SOCKET_PATH_BYTES, Home, find_home


def test_the_environment_chooses_the_home(tmp_path: Path) -> None:
    assert find_home({"LMRUN_HOME": str(tmp_path)}).root == tmp_path


@pytest.mark.parametrize("environment", [{}, {"LMRUN_HOME": ""}])
def test_without_a_choice_the_home_lies_in_the_users_directory(
    environment: dict[str, str],
) -> None:
    assert find_home({**environment, "HOME": "/home/ada"}).root == Path("/home/ada/.lmrun")


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_home({"LMRUN_HOME": "a/../b"}).root == tmp_path / "b"


def test_ensure_makes_every_directory_private_and_may_be_repeated(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    home.ensure()
    home.ensure()
    for folder in (home.root, home.models, home.downloads, home.logs):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert home.server_log.parent == home.logs


def test_a_long_home_gets_a_short_socket_that_only_depends_on_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path / ("x" * 120))
    assert len(os.fsencode(home.control_socket)) <= MAX_SOCKET_PATH_BYTES
    assert home.control_socket == Home(home.root).control_socket
    assert home.control_socket != Home(tmp_path / ("y" * 120)).control_socket
    home.ensure()
    assert home.control_socket.parent.stat().st_mode & 0o777 == 0o700


def test_a_short_home_keeps_its_socket() -> None:
    assert Home(Path("/srv/lm")).control_socket == Path("/srv/lm/control.sock")


def test_a_home_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(StoreError, match=r"other users may write.*chmod go-w"):
        Home(tmp_path).ensure()


def test_a_file_in_the_homes_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError, match=rf"cannot create {tmp_path}/home: .*move it away"):
        Home(tmp_path / "home").ensure()
    with pytest.raises(StoreError, match="a directory is needed"):
        Home(tmp_path / "home" / "below").ensure()
