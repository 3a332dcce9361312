"""The estimate before a load, held against what llama.cpp says it allocates."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.catalog.catalog import Catalog
from lmrun.catalog.memory import LoadFiles
from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.loading.native import load_native
from lmrun.settings.load import LoadConfig
from lmrun.store.home import Home
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_variants import write_tiny_gemma2, write_tiny_moe

MIB = 2**20
MOST_ERROR = 0.15
ROUNDING = 0.05 * MIB


@pytest.mark.parametrize("write", [write_tiny_llama, write_tiny_moe, write_tiny_gemma2])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"flash_attention": False},
        {"max_parallel_predictions": 16, "eval_batch_size": 16},
        {"max_parallel_predictions": 1, "flash_attention": False, "eval_batch_size": 64},
        {"kv_tokens": 4096},
    ],
    ids=str,
)
def test_cache_and_compute_buffers_are_as_estimated(
    tmp_path: Path, write: Callable[[Path], Path], values: dict[str, Any]
) -> None:
    path, config = write(tmp_path / "m.gguf"), LoadConfig.model_validate(values)
    estimate = Catalog(Home(tmp_path), {}).estimate_memory(LoadFiles(path), config)
    with closing(load_native(path, config, 1, lambda fraction: None)):
        lines = native_log.read_lines()
    for part, expected in (("KV", estimate.cache), ("compute", estimate.compute)):
        found = _logged_bytes(lines, part)
        assert abs(expected - found) <= MOST_ERROR * found + ROUNDING, (part, expected, found)


def _logged_bytes(lines: list[str], part: str) -> float:
    pattern = re.compile(rf"{part} buffer size = +([0-9.]+) MiB")
    return MIB * sum(float(match[1]) for line in lines if (match := pattern.search(line)))
