"""What a load will take, by the headers of its files. No engine is asked; its tests ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmrun.catalog.catalog import Catalog
from lmrun.catalog.memory import WORKER_BYTES, Estimate, LoadFiles, choose_chunk
from lmrun.errors import ModelInvalid
from lmrun.settings.load import LoadConfig
from lmrun.store.home import Home
from tests.catalog.gguf_files import UINT16, GgufFile
from tests.support.tiny_llama import TinyShape, write_tiny_llama
from tests.support.tiny_lora import write_tiny_lora

SHAPE = TinyShape(layers=3, embedding=32, heads=4, kv_heads=2, context_length=512)
CELL_BYTES = 3 * 2 * (8 * 2 + 8 * 2)
MODEL = GgufFile().build()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    home = Home(tmp_path / "home")
    home.ensure()
    return Catalog(home, {})


def part(number: int, count: int) -> bytes:
    file = GgufFile()
    file.pairs |= {"split.no": (UINT16, number - 1), "split.count": (UINT16, count)}
    return file.build()


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def estimate(catalog: Catalog, path: Path, *, strict: bool = False, **load: Any) -> Estimate:
    return catalog.estimate_memory(LoadFiles(path), LoadConfig.model_validate(load), strict=strict)


def tiny(folder: Path) -> Path:
    return write_tiny_llama(folder / "m.gguf", shape=SHAPE)


@pytest.mark.parametrize(
    ("load", "cells", "cell_bytes"),
    [
        ({"context_length": 300, "max_parallel_predictions": 2}, 2 * 512, CELL_BYTES),
        (
            {
                "context_length": 300,
                "max_parallel_predictions": 2,
                "unified_kv_cache": True,
                "eval_batch_size": 16,
            },
            768,
            CELL_BYTES,
        ),
        ({"context_length": 256, "kv_tokens": 512}, 768, CELL_BYTES),
        ({"context_length": 256, "kv_tokens": 1000, "eval_batch_size": 16}, 1024, CELL_BYTES),
        ({"max_parallel_predictions": 1, "eval_batch_size": 16}, 512, CELL_BYTES),
        (
            {"k_cache_type": "q8_0", "v_cache_type": "q8_0", "max_parallel_predictions": 4},
            2048,
            CELL_BYTES * 34 / 64,
        ),
    ],
    ids=str,
)
def test_the_cache_is_its_cells_rounded_up(
    catalog: Catalog, tmp_path: Path, load: dict[str, Any], cells: int, cell_bytes: float
) -> None:
    assert estimate(catalog, tiny(tmp_path), **load).cache == cells * cell_bytes


def test_an_estimate_adds_up_all_that_belongs_to_a_load(catalog: Catalog, tmp_path: Path) -> None:
    model, draft = tiny(tmp_path), write_tiny_llama(tmp_path / "draft.gguf", shape=SHAPE)
    adapter, projector = write_tiny_lora(tmp_path / "a.gguf"), put(tmp_path / "p.gguf", bytes(99))
    load = LoadConfig.model_validate({"prefix_cache": {"ram": "3MiB"}})
    files = LoadFiles(model, (adapter, adapter), projector, draft)
    found = catalog.estimate_memory(files, load, strict=True)
    alone = catalog.estimate_memory(LoadFiles(model), load)
    assert found.weights == alone.weights == model.stat().st_size
    assert found.attached == 2 * adapter.stat().st_size + 99
    assert found.draft == alone.at_load - WORKER_BYTES
    assert 512 * CELL_BYTES < found.strict < alone.cache + alone.compute
    assert found.at_load == alone.at_load + found.attached + found.draft + found.strict
    assert (found.prefix_cache, found.total) == (3 * 2**20, found.at_load + 3 * 2**20)


def test_without_flash_attention_every_head_needs_its_scores(
    catalog: Catalog, tmp_path: Path
) -> None:
    path = tiny(tmp_path)
    fast = estimate(catalog, path).compute
    assert estimate(catalog, path, flash_attention=False).compute > 2 * fast


def test_an_encoder_has_neither_cache_nor_parked_prefixes(catalog: Catalog, tmp_path: Path) -> None:
    content = MODEL.replace(b"llama", b"xbert")
    found = estimate(catalog, put(tmp_path / "m.gguf", content))
    assert (found.weights, found.cache, found.prefix_cache) == (len(content), 0, 0)


def test_weights_of_a_split_model_are_those_of_all_parts(catalog: Catalog, tmp_path: Path) -> None:
    parts = [put(tmp_path / f"m-0000{n}-of-00002.gguf", part(n, 2)) for n in (1, 2)]
    assert estimate(catalog, parts[0]).weights == sum(path.stat().st_size for path in parts)


def test_other_files_count_with_their_size_and_broken_ones_are_an_error(
    catalog: Catalog, tmp_path: Path
) -> None:
    script = put(tmp_path / "m.scripted.json", b"{}")
    assert estimate(catalog, script) == Estimate(weights=2, worker=WORKER_BYTES)
    holding = put(tmp_path / "h.scripted.json", b'{"load": {"memory_bytes": 5}}')
    assert estimate(catalog, holding).compute == 5
    wrong = put(tmp_path / "w.scripted.json", b'{"load": 5}')
    assert estimate(catalog, wrong).compute == 0
    with pytest.raises(ModelInvalid):
        estimate(catalog, put(tmp_path / "m.gguf", b"GGUF"))


@pytest.mark.parametrize(
    ("parameters", "cores", "most", "expected"),
    [
        (300_000, 2, 512, 512),
        (135_000_000, 2, 512, 256),
        (7_000_000_000, 2, 512, 16),
        (7_000_000_000, 64, 512, 128),
        (135_000_000, 2, 4, 4),
        (0, 1, 512, 512),
    ],
)
def test_a_chunk_follows_the_size_of_model_and_machine(
    parameters: int, cores: int, most: int, expected: int
) -> None:
    assert choose_chunk(parameters, cores, most) == expected
