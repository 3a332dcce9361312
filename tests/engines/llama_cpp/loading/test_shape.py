"""How large a context becomes, and which sizes are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.engines.llama_cpp.loading import shape
from lmrun.engines.llama_cpp.loading.shape import ContextShape, ModelFacts
from lmrun.errors import SettingRefused
from lmrun.settings.load import LoadConfig

LLAMA = ModelFacts(trained_context=8192, rotary=True)
GPT2 = ModelFacts(trained_context=1024, rotary=False)
SCALED = ModelFacts(trained_context=131_072, rotary=True, scaled_from=4096)


def config(**values: Any) -> LoadConfig:
    return LoadConfig.model_validate(values)


def shape_of(facts: ModelFacts = LLAMA, **values: Any) -> ContextShape:
    return shape.shape_generation(config(**values), facts, 512)


@pytest.mark.parametrize(
    ("values", "facts", "expected"),
    [
        ({}, LLAMA, 4096),
        ({}, GPT2, 1024),
        ({"context_length": 8192}, LLAMA, 8192),
        ({"context_length": 16_384, "rope_frequency_scale": 0.5}, LLAMA, 16_384),
        ({"context_length": 16_384, "rope_frequency_base": 1e6}, LLAMA, 16_384),
    ],
)
def test_the_context_follows_the_model_and_the_wish(
    values: dict[str, Any], facts: ModelFacts, expected: int
) -> None:
    assert shape.choose_context_length(config(**values), facts) == expected


@pytest.mark.parametrize(
    ("values", "facts", "param"),
    [
        ({"context_length": 8193}, LLAMA, "load.context_length"),
        ({"context_length": 1025}, GPT2, "load.context_length"),
        ({"rope_frequency_base": 1e4}, GPT2, "load.rope_frequency_base"),
        ({"rope_frequency_scale": 0.5}, GPT2, "load.rope_frequency_scale"),
    ],
)
def test_a_context_that_would_give_nonsense_is_refused(
    values: dict[str, Any], facts: ModelFacts, param: str
) -> None:
    with pytest.raises(SettingRefused) as refused:
        shape.choose_context_length(config(**values), facts)
    assert refused.value.param == param


def test_a_pool_that_cannot_be_counted_is_refused() -> None:
    facts = ModelFacts(trained_context=2**24, rotary=True)
    huge = config(context_length=2**24, max_parallel_predictions=255)
    with pytest.raises(SettingRefused) as refused:
        shape.shape_generation(huge, facts, 512)
    assert refused.value.param == "load.context_length"


@pytest.mark.parametrize(
    ("scaled_from", "length", "sequences", "unified"),
    [
        (None, 4096, 4, True),
        (4096, 1024, 4, True),
        (4096, 8192, 4, True),
        (4096, 4096, 1, True),
        (4096, 4096, 4, False),
    ],
)
def test_a_shared_pool_never_changes_which_rope_factors_a_model_uses(
    scaled_from: int | None, length: int, sequences: int, unified: bool
) -> None:
    facts = ModelFacts(trained_context=131_072, rotary=True, scaled_from=scaled_from)
    pool = length * sequences
    chosen = config(context_length=length, max_parallel_predictions=sequences, kv_tokens=pool)
    assert shape.shape_generation(chosen, facts, 512).unified is unified


def test_a_context_has_rows_to_spare_and_an_id_for_the_prefix_cache() -> None:
    made = shape_of(max_parallel_predictions=3, eval_batch_size=32, unified_kv_cache=True)
    assert (made.chunk, made.capacity, made.outputs) == (32, 32 + 3 + 64, 3 + 64)
    assert (made.sequences, made.scratch, made.unified) == (3, 1, True)


def test_the_pool_is_as_large_as_it_is_declared() -> None:
    assert shape_of(context_length=1000, max_parallel_predictions=4).pool == 4000
    assert shape_of(context_length=1000, kv_tokens=1500).pool == 1500


def test_each_sequence_has_a_cache_of_its_own_unless_something_else_is_declared() -> None:
    made = shape_of(context_length=1000)
    assert (made.unified, made.scratch, made.pool, made.room) == (False, 0, 4000, 1000)
    assert not shape_of(context_length=1000, unified_kv_cache=False, kv_tokens=4000).unified
    for declared in ({"kv_tokens": 1500}, {"unified_kv_cache": True}):
        shared = shape_of(context_length=1000, **declared)
        assert shared.unified and shared.room == shared.pool


@pytest.mark.parametrize(
    ("values", "facts", "param"),
    [
        ({"context_length": 1000, "kv_tokens": 999}, LLAMA, "load.kv_tokens"),
        ({"kv_tokens": 4095}, LLAMA, "load.kv_tokens"),
        ({"unified_kv_cache": False, "kv_tokens": 8192}, LLAMA, "load.kv_tokens"),
        ({"unified_kv_cache": True}, SCALED, "load.unified_kv_cache"),
        ({"kv_tokens": 8192}, SCALED, "load.kv_tokens"),
    ],
    ids=str,
)
def test_a_pool_that_cannot_be_had_is_refused_by_name(
    values: dict[str, Any], facts: ModelFacts, param: str
) -> None:
    with pytest.raises(SettingRefused) as refused:
        shape_of(facts, **values)
    assert refused.value.param == param
    assert param in refused.value.message and refused.value.hint
