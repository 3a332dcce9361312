"""The load config: bounds, names of adapters, and its way to a worker and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from lmrun.settings.load import LoadConfig

FULL: dict[str, Any] = {
    "context_length": 512,
    "max_parallel_predictions": 255,
    "unified_kv_cache": True,
    "kv_tokens": 1024,
    "gpu": {"ratio": 0.5, "main_gpu": 1, "split_strategy": "favorMainGpu", "disabled_gpus": [2]},
    "offload_kv_cache_to_gpu": False,
    "num_experts": 4,
    "seed": 7,
    "k_cache_type": "q8_0",
    "prefix_cache": {"ram": "0B", "persist": True},
    "adapters": [{"source": "file:./a.gguf"}, {"source": "file:./b.gguf", "name": "x", "scale": 2}],
    "mmproj": "file:./p.gguf",
    "draft_model": "package:some-model==1.0/d.gguf",
}


@pytest.mark.parametrize("values", [{}, FULL, {"prefix_cache": {"ram": "1500MB"}}], ids=len)
def test_a_load_config_survives_the_way_to_a_worker(values: dict[str, Any]) -> None:
    config = LoadConfig.model_validate(values)
    sent = msgspec.msgpack.encode(config.model_dump(exclude_unset=True))
    assert LoadConfig.model_validate(msgspec.msgpack.decode(sent)) == config


def test_an_adapter_is_called_by_its_file_unless_it_is_named() -> None:
    adapters = LoadConfig.model_validate(FULL).adapters
    assert [adapter.given_name for adapter in adapters] == ["a", "x"]


@pytest.mark.parametrize(
    "values",
    [
        {"max_parallel_predictions": 256},
        {"kv_tokens": 7},
        {"kv_tokens": True},
        {"kv_tokens": "1024"},
        {"num_experts": 0},
        {"seed": -1},
        {"seed": 2**32},
        {"prefix_cache": {"ram": 5}},
        {"prefix_cache": {"ram": "5"}},
        {"adapters": [{"source": "a.gguf"}]},
        {"adapters": [{"source": "file:a.gguf"}, {"source": "file:b/a.gguf"}]},
        {"adapters": [{"source": "file:a.gguf", "scale": float("nan")}]},
        {"adapters": [{"source": "file:a.gguf", "scale": 1e308}]},
        {"mmproj": "hf:org/repo"},
        {"draft_model": "https://example.com/m.gguf"},
        {"gpu": {"split": [-1]}},
        {"gpu": {"main_gpu": 2**31}},
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadConfig.model_validate(values)


def test_chosen_settings_go_over_others_down_to_those_of_their_parts() -> None:
    below = LoadConfig.model_validate(
        {"context_length": 64, "prefix_cache": {"ram": "1MiB", "persist": True}}
    )
    above = LoadConfig.model_validate({"prefix_cache": {"ram": "2MiB"}, "threads": 1})
    merged = below.overlay(above)
    assert (merged.context_length, merged.threads) == (64, 1)
    assert (merged.prefix_cache.ram, merged.prefix_cache.persist) == (2 * 2**20, True)
    assert below.overlay(LoadConfig()) == below
