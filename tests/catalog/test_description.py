"""What lists of models say of a file."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from lmrun.catalog.catalog import Catalog, LocatedModel
from lmrun.catalog.description import ModelFile, describe_file
from lmrun.errors import ModelInvalid
from lmrun.store.home import Home
from tests.support.tiny_bert import make_tiny_bert
from tests.support.tiny_llama import write_tiny_llama


def locate(path: Path) -> LocatedModel:
    found = path.stat()
    return LocatedModel(path, found.st_size, found.st_mtime_ns)


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "m.gguf")
    file = describe_file(path, path.stat().st_size)
    assert (file.type, file.format, file.architecture) == ("llm", "gguf", "llama")
    assert file.size == path.stat().st_size
    assert file.context_length is not None


def test_parameters_are_counted_where_the_file_does_not_say(tmp_path: Path) -> None:
    bert = make_tiny_bert(gguf.PoolingType.MEAN)
    path = bert.write(tmp_path / "m.gguf")
    file = describe_file(path, path.stat().st_size)
    count = sum(values.size for values in bert.tensors.values())
    assert file.type == "embedding"
    assert 10_000 < count < 10**6
    assert file.parameters == f"{count // 1000}K"


def test_a_script_has_no_header(tmp_path: Path) -> None:
    assert describe_file(tmp_path / "m.scripted.json", 5) == ModelFile("llm", None, 5)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("Q4_K_M", 4), ("IQ3_XXS", 3), ("F16", 16), ("BF16", 16), ("MXFP4", 4), ("?", None)],
)
def test_a_quantisation_names_its_bits(name: str, bits: int | None) -> None:
    assert ModelFile("llm", "gguf", 1, quantization=name).bits_per_weight == bits


def test_a_changed_file_is_described_anew(tmp_path: Path) -> None:
    catalog = Catalog(Home(tmp_path), {"HOME": str(tmp_path)})
    path = write_tiny_llama(tmp_path / "m.gguf")
    first = catalog.describe(locate(path))
    assert catalog.describe(locate(path)) is first
    path.write_bytes(b"no model at all")
    with pytest.raises(ModelInvalid):
        catalog.describe(locate(path))


@pytest.mark.parametrize(
    ("where", "publisher"),
    [
        ("models/acme/talker/m.gguf", "acme"),
        (".lmstudio/models/lmstudio-community/x-GGUF/x.gguf", "lmstudio-community"),
        (".cache/huggingface/hub/models--qwen--x/snapshots/0/x.gguf", "qwen"),
        (".cache/huggingface/hub/models--gpt2/snapshots/0/x.gguf", None),
        ("models/m.gguf", None),
        ("elsewhere/a/b/m.gguf", None),
    ],
)
def test_a_publisher_is_the_folder_that_says_so(
    tmp_path: Path, where: str, publisher: str | None
) -> None:
    catalog = Catalog(Home(tmp_path), {"HOME": str(tmp_path)})
    assert catalog.find_publisher(tmp_path / where) == publisher
