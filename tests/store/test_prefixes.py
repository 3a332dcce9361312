"""Prefixes lie in folders of this user's alone, signed with a key of this installation's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lmrun.store.home import Home
from lmrun.store.prefixes import KEY_BYTES, PrefixStore


@pytest.fixture
def store(tmp_path: Path) -> PrefixStore:
    home = Home(tmp_path / "home")
    home.ensure()
    return PrefixStore(home)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_owner_has_a_private_folder_and_keeps_it(store: PrefixStore) -> None:
    folder = store.open("a\n/models/../m.gguf")
    assert folder.is_dir()
    assert [mode_of(each) for each in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3
    assert store.open("a\n/models/../m.gguf") == folder != store.open("b\n/models/../m.gguf")


def test_the_key_is_made_once_and_private(store: PrefixStore, tmp_path: Path) -> None:
    key = store.read_key()
    assert len(key) == KEY_BYTES
    assert store.read_key() == key
    assert mode_of(tmp_path / "home" / "prefix.key") == 0o600


@pytest.mark.parametrize("content", [b"", b"short", bytes(KEY_BYTES + 1)], ids=len)
def test_a_damaged_key_is_replaced(store: PrefixStore, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "home" / "prefix.key"
    path.write_bytes(content)
    path.chmod(0o600)
    key = store.read_key()
    assert len(key) == KEY_BYTES and key != content


def test_a_key_that_others_could_read_is_replaced(store: PrefixStore, tmp_path: Path) -> None:
    key = store.read_key()
    (tmp_path / "home" / "prefix.key").chmod(0o640)
    assert store.read_key() != key
    assert mode_of(tmp_path / "home" / "prefix.key") == 0o600
