"""What a profile wants of the files on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.catalog.catalog import LocatedModel
from lmrun.catalog.memory import Estimate, LoadFiles
from lmrun.errors import SourceMissing
from lmrun.profile.loader import load_profile
from lmrun.reconcile.desired import DesiredModel, read_desired
from lmrun.settings.load import LoadConfig
from lmrun.settings.sources import FileSource, PackageSource, Source

PACKAGED = "package:adapters==1.0/c.gguf"


class Shelf:
    """Every file is there, except packages that were not fetched and `missing`."""

    def __init__(self, *, fetched: bool = True, missing: str | None = None) -> None:
        self.fetched = fetched
        self.missing = missing
        self.estimated: list[tuple[LoadFiles, bool]] = []

    def locate(self, source: Source) -> LocatedModel | None:
        if isinstance(source, PackageSource):
            return LocatedModel(Path("/store") / source.member, 3, 3) if self.fetched else None
        assert isinstance(source, FileSource)
        if source.path.name == self.missing:
            raise SourceMissing(f"{source.path}: none.")
        return LocatedModel(source.path, 1, 2)

    def estimate_memory(self, files: LoadFiles, load: LoadConfig, *, strict: bool) -> Estimate:
        self.estimated.append((files, strict))
        return Estimate(weights=10, prefix_cache=5)


def read(folder: Path, shelf: Shelf) -> DesiredModel:
    """The one model of a profile that lays its load config over a base in another folder."""
    (folder / "base").mkdir()
    text = "version: 1\nmodels: {m: {source: 'file:./m.gguf', deterministic: strict}}\n"
    (folder / "base" / "base.yaml").write_text(text)
    loaded = load_profile(write(folder), {})
    (model,) = read_desired(loaded, shelf).models
    return model


def write(folder: Path) -> Path:
    path = folder / "p.yaml"
    adapters = f"[{{source: file:./a.gguf}}, {{source: {PACKAGED}, name: c}}]"
    path.write_text(
        "version: 1\ninclude: [base/base.yaml]\nmodels:\n  m:\n    load:\n"
        f"      adapters: {adapters}\n      mmproj: file:./p.gguf\n"
        "      draft_model: file:./d.gguf\n"
    )
    return path


def test_every_file_of_a_load_is_looked_up_where_it_was_declared(tmp_path: Path) -> None:
    shelf = Shelf()
    model = read(tmp_path, shelf)
    assert model.spec is not None
    assert model.spec.path == tmp_path / "base" / "m.gguf"
    assert {name: str(file.path) for name, file in model.spec.attached.items()} == {
        "load.adapters[0]": str(tmp_path / "a.gguf"),
        "load.adapters[1]": "/store/c.gguf",
        "load.mmproj": str(tmp_path / "p.gguf"),
        "load.draft_model": str(tmp_path / "d.gguf"),
    }
    assert [adapter.given_name for adapter in model.spec.load.adapters] == ["a", "c"]
    assert model.memory_bytes == 15
    files, strict = shelf.estimated[0]
    assert strict and (files.draft_model, len(files.adapters)) == (tmp_path / "d.gguf", 2)


def test_a_model_waits_until_all_its_files_are_fetched(tmp_path: Path) -> None:
    model = read(tmp_path, Shelf(fetched=False))
    assert (model.spec, model.error) == (None, None)
    assert len(model.attachments) == 4


@pytest.mark.parametrize("name", ["m.gguf", "a.gguf", "p.gguf", "d.gguf"])
def test_a_missing_file_is_the_model_s_error(tmp_path: Path, name: str) -> None:
    model = read(tmp_path, Shelf(missing=name))
    assert isinstance(model.error, SourceMissing) and name in model.error.message
