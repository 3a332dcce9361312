"""A package that is installed already is used where it lies, if it is whole."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from lmrun.catalog.catalog import Catalog, LocatedModel
from lmrun.errors import SourceMissing
from lmrun.settings.sources import PackageSource
from lmrun.store.home import Home
from tests.support.wheels import write_wheel

CONTENT = bytes(range(256)) * 500
MEMBER = "lmrun_test_model/m.gguf"
SOURCE = PackageSource("lmrun-test-model", "1.0", MEMBER)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    return home


def install(folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the test package where Python finds it, as an installer would."""
    wheel = write_wheel(folder, "lmrun-test-model", "1.0", {MEMBER: CONTENT})
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / MEMBER).write_bytes(content)
    monkeypatch.syspath_prepend(str(site))
    return site / MEMBER


def test_an_installed_package_is_used_where_it_lies(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install(tmp_path, CONTENT, monkeypatch)
    found = path.stat()
    located = Catalog(home).locate(SOURCE)
    assert located == LocatedModel(path, found.st_size, found.st_mtime_ns)
    assert Catalog(home).locate(PackageSource("lmrun-test-model", "1.1", MEMBER)) is None
    with pytest.raises(SourceMissing, match=r"It has lmrun_test_model/m\.gguf"):
        Catalog(home).locate(PackageSource("lmrun-test-model", "1.0", "x.gguf"))


def test_a_damaged_installed_package_is_refused(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, b"GGUF damaged", monkeypatch)
    with pytest.raises(SourceMissing, match=r"is damaged.*Reinstall lmrun-test-model==1.0"):
        Catalog(home).locate(SOURCE)


def test_an_installed_file_that_is_a_link_is_fetched_instead(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install(tmp_path, CONTENT, monkeypatch)
    path.rename(tmp_path / "cache.gguf")
    path.symlink_to(tmp_path / "cache.gguf")
    assert Catalog(home).locate(SOURCE) is None
