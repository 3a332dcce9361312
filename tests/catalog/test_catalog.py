"""The catalog: what lies where, what is listed, what it will cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmrun.catalog.catalog import Catalog
from lmrun.catalog.entries import CatalogEntry
from lmrun.errors import SourceMissing
from lmrun.settings.sources import FileSource
from lmrun.store.home import Home
from tests.catalog.gguf_files import STRING, UINT16, UINT32, GgufFile

MODEL = GgufFile().build()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "lmrun")
    home.ensure()
    return home


@pytest.fixture
def catalog(home: Home, tmp_path: Path) -> Catalog:
    return Catalog(home, {"HOME": str(tmp_path)})


def put(path: Path, content: bytes = MODEL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def quantized(file_type: int) -> bytes:
    file = GgufFile()
    file.pairs["general.file_type"] = (UINT32, file_type)
    return file.build()


def projector() -> bytes:
    return GgufFile(pairs={"general.architecture": (STRING, "clip")}).build()


def part(number: int, count: int) -> bytes:
    file = GgufFile()
    if number > 1:
        file.pairs = {}
    file.pairs["split.no"] = (UINT16, number - 1)
    file.pairs["split.count"] = (UINT16, count)
    return file.build()


def keys(catalog: Catalog) -> list[str]:
    return [entry.key for entry in catalog.list()]


def only(catalog: Catalog) -> CatalogEntry:
    (entry,) = catalog.list()
    return entry


def test_a_file_is_located_with_its_size_and_time(catalog: Catalog, tmp_path: Path) -> None:
    path = put(tmp_path / "m.gguf")
    located = catalog.locate(FileSource(path))
    assert located is not None
    assert (located.path, located.size) == (path, len(MODEL))
    os.utime(path, ns=(0, 5))
    again = catalog.locate(FileSource(path))
    assert again is not None
    assert again.mtime_ns == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smolm2.gguf", r"smolm2.gguf: No such file.*In .* there is smollm2.gguf"),
        ("missing/m.gguf", r"There is no directory .*missing"),
        ("empty/m.gguf", r"holds no model"),
        ("models", r"models is a directory\..*there is a\.gguf, b\.scripted\.json"),
        ("pipe.gguf", r"not a file that you may read"),
    ],
)
def test_a_missing_file_names_what_was_tried_and_what_is_there(
    catalog: Catalog, tmp_path: Path, name: str, message: str
) -> None:
    for present in ("smollm2.gguf", "other.gguf", "models/a.gguf", "models/b.scripted.json"):
        put(tmp_path / present)
    put(tmp_path / "empty" / "readme.txt")
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(SourceMissing, match=message):
        catalog.locate(FileSource(tmp_path / name))


def test_an_empty_machine_lists_nothing(catalog: Catalog) -> None:
    assert catalog.list() == ()


def test_models_of_all_three_places_are_listed(
    catalog: Catalog, home: Home, tmp_path: Path
) -> None:
    put(home.models / "pypi" / "a-1.0" / "Alpha-Q4_K_M.gguf")
    put(tmp_path / ".lmstudio/models/lmstudio-community/Beta-7B-GGUF/Beta-7B-Q8_0.gguf")
    put(tmp_path / ".cache/lm-studio/models/org/Gamma/gamma.f16.gguf")
    blob = put(tmp_path / ".cache/huggingface/hub/models--org--Delta-GGUF/blobs/abc")
    snapshot = tmp_path / ".cache/huggingface/hub/models--org--Delta-GGUF/snapshots/123"
    snapshot.mkdir(parents=True)
    (snapshot / "delta.IQ4_XS.gguf").symlink_to(blob)
    assert [(entry.key, entry.origin, entry.publisher) for entry in catalog.list()] == [
        ("alpha", "lmrun", "pypi"),
        ("beta-7b", "lmstudio", "lmstudio-community"),
        ("delta", "huggingface", "org"),
        ("gamma", "lmstudio", "org"),
    ]


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_the_hub_cache_is_where_the_environment_says(
    home: Home, tmp_path: Path, variable: str
) -> None:
    below = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}[variable]
    put(tmp_path / "x" / below / "models--o--n/snapshots/1/m-name.gguf")
    catalog = Catalog(home, {"HOME": str(tmp_path / "none"), variable: str(tmp_path / "x")})
    assert keys(catalog) == ["m-name"]


def test_a_moved_lm_studio_folder_is_found(catalog: Catalog, tmp_path: Path) -> None:
    put(tmp_path / "moved/models/org/one/one.gguf")
    put(tmp_path / ".lmstudio-home-pointer", str(tmp_path / "moved").encode())
    put(tmp_path / "elsewhere/org/two/two.gguf")
    settings = f'{{"downloadsFolder": "{tmp_path}/elsewhere"}}'
    put(tmp_path / "moved/settings.json", settings.encode())
    put(tmp_path / ".lmstudio/settings.json", b"not json")
    assert keys(catalog) == ["one", "two"]


def test_one_file_under_two_names_is_listed_once(catalog: Catalog, home: Home) -> None:
    path = put(home.models / "a" / "b" / "m1.gguf")
    (path.parent / "m2.gguf").hardlink_to(path)
    (home.models / "a" / "c").symlink_to(path.parent)
    (home.models / "a" / "b" / "circle").symlink_to(home.models)
    (home.models / "a" / "b" / "dangling.gguf").symlink_to("/nowhere")
    assert keys(catalog) == ["m1"]


def test_keys_are_as_short_as_they_can_be_and_unique(catalog: Catalog, home: Home) -> None:
    put(home.models / "one/Qwen-GGUF/Qwen-Q4_K_M.gguf", quantized(15))
    put(home.models / "one/Qwen-GGUF/Qwen-Q8_0.gguf", quantized(7))
    put(home.models / "two/Qwen-GGUF/Qwen-Q8_0.gguf", quantized(7))
    put(home.models / "two/Qwen-GGUF/sub/Qwen-Q8_0.gguf", quantized(7))
    put(home.models / "three/Llama 3 ü-GGUF/model.gguf")
    assert keys(catalog) == [
        "llama-3",
        "one/qwen@q8_0",
        "qwen@q4_k_m",
        "two/qwen@q8_0",
        "two/qwen@q8_0:2",
    ]


def test_a_split_model_is_one_model(catalog: Catalog, home: Home) -> None:
    sizes = [
        put(home.models / f"o/m/Big-Q8_0-0000{n}-of-00003.gguf", part(n, 3)).stat().st_size
        for n in (1, 2, 3)
    ]
    entry = only(catalog)
    assert (entry.key, entry.size, entry.problem) == ("big", sum(sizes), None)
    assert entry.path.name == "Big-Q8_0-00001-of-00003.gguf"


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_split_model_with_a_missing_part_is_listed_as_broken(
    catalog: Catalog, home: Home, missing: int
) -> None:
    for number in {1, 2, 3} - {missing}:
        put(home.models / f"o/m/big-0000{number}-of-00003.gguf", part(number, 3))
    entry = only(catalog)
    assert entry.problem is not None
    assert f"part {missing} of 3 is missing" in entry.problem
    assert entry.architecture is None


def test_a_projector_gives_the_model_beside_it_sight(catalog: Catalog, home: Home) -> None:
    put(home.models / "o/m/see-4b.gguf")
    mmproj = put(home.models / "o/m/mmproj-see-4b-f16.gguf", projector())
    put(home.models / "o/m/mmproj-see-4b-f32.gguf", projector())
    put(home.models / "o/other/blind.gguf")
    blind, seeing = catalog.list()
    assert (blind.key, blind.type, blind.mmproj) == ("blind", "llm", None)
    assert (seeing.key, seeing.type, seeing.mmproj) == ("see-4b", "vlm", mmproj)
    assert seeing.size == len(MODEL) + len(projector())


def test_broken_files_are_listed_with_their_reason_and_adapters_not_at_all(
    catalog: Catalog, home: Home
) -> None:
    adapter = GgufFile(pairs={"general.type": (STRING, "adapter")}).build()
    put(home.models / "o/m/adapter.gguf", adapter)
    put(home.models / "o/m/broken.gguf", b"GGUF")
    put(home.models / "o/m/good.gguf")
    broken, good = catalog.list()
    assert (broken.key, good.key, good.problem) == ("broken", "good", None)
    assert broken.problem is not None
    assert "broken.gguf: the file ends" in broken.problem


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(
    catalog: Catalog, home: Home, tmp_path: Path
) -> None:
    path = put(home.models / "o/m/model-x.gguf", quantized(7))
    assert only(catalog).quantization == "Q8_0"
    found = path.stat()
    path.write_bytes(quantized(15))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    fresh = Catalog(home, {"HOME": str(tmp_path)})
    assert only(fresh).quantization == "Q8_0"
    os.utime(path, ns=(0, 0))
    assert only(fresh).quantization == "Q4_K_M"
    path.unlink()
    assert fresh.list() == ()
    assert str(path) not in home.catalog_index.read_text()


def test_a_home_that_cannot_be_written_still_lists(
    catalog: Catalog, home: Home, tmp_path: Path
) -> None:
    put(home.models / "o/m/x.gguf")
    home.catalog_index.mkdir()
    assert keys(catalog) == ["x"]
