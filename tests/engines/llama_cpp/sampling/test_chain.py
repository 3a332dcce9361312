"""Every setting chooses the tokens that llama.cpp's own chain chooses from the same logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.llama_cpp.sampling.outputs import Logits
from lmrun.engines.llama_cpp.sampling.sampler import Sampler
from lmrun.settings.prediction import PredictionConfig
from tests.engines.llama_cpp.sampling.reference import Bench, ReferenceChain, open_bench
from tests.support.engines import Subject

OFF: dict[str, Any] = {"temperature": 1.0, "seed": 7, "repeat_penalty": 1.0, "min_p": 0.0}
WIDE: dict[str, Any] = {**OFF, "top_k": 0, "top_p": 1.0}
PROMPT = [65, 66, 67, 68, 65, 66, 67, 10, 65, 66]


@pytest.fixture(scope="module")
def bench(tiny: Subject) -> Iterator[Bench]:
    with open_bench(tiny) as opened:
        yield opened


def make_logits(size: int, tokens: int, seed: int) -> list[Logits]:
    """Rows in which a dozen letters stand out, so that sequences repeat."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(tokens):
        row = random.normal(0, 1, size).astype(np.float32)
        row[65:77] += random.normal(4, 2, 12).astype(np.float32)
        row[10] += 2
        rows.append(row)
    return rows


def choose(bench: Bench, prediction: PredictionConfig, rows: list[Logits]) -> list[int]:
    tokens = []
    with closing(Sampler(prediction, PROMPT, bench.vocabulary)) as sampler:
        for row in rows:
            bench.put(row)
            tokens.append(sampler.sample(bench.outputs, 0))
            sampler.accept(tokens[-1])
    return tokens


def choose_natively(bench: Bench, prediction: PredictionConfig, rows: list[Logits]) -> list[int]:
    with closing(ReferenceChain(prediction, PROMPT, bench.vocabulary)) as chain:
        return [chain.sample(row) for row in rows]


DRY: dict[str, Any] = {"dry_multiplier": 0.8, "dry_allowed_length": 1}


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"top_k": 5, "top_p": 0.7, "min_p": 0.1},
        {"typical_p": 0.3},
        {"typical_p": 0.9, **WIDE},
        {"typical_p": 0.2, "temperature": 0.0},
        {"typical_p": 1e-6, "top_k": 3},
        {"xtc_probability": 0.5},
        {"xtc_probability": 1.0, "xtc_threshold": 0.05},
        {"xtc_probability": 0.5, "temperature": 0.0},
        {"xtc_probability": 1.0, "xtc_threshold": 0.6},
        {"xtc_probability": 1.0, "xtc_threshold": 0.0, "top_k": 4},
        {**DRY},
        {**DRY, "temperature": 0.0},
        {**DRY, "dry_base": 1.0, "dry_multiplier": 3.0},
        {**DRY, "dry_base": 100.0, "dry_multiplier": 100.0, "dry_allowed_length": 0},
        {**DRY, "dry_penalty_last_n": 6},
        {**DRY, "dry_sequence_breakers": ["AB", "\n", "K"]},
        {**DRY, "dry_sequence_breakers": []},
        {**DRY, "dry_allowed_length": 2**31 - 1},
        {"dry_multiplier": 0.0, "dry_allowed_length": 0},
        {"mirostat": 1},
        {"mirostat": 1, "mirostat_tau": 1.0, "mirostat_eta": 0.5, "temperature": 0.7},
        {"mirostat": 2},
        {"mirostat": 2, "mirostat_tau": 1.0, "mirostat_eta": 0.5, "temperature": 0.7},
        {"mirostat": 2, "mirostat_tau": 0.0},
        {"mirostat": 1, "temperature": 0.0},
        {"mirostat": 2, "temperature": 0.0},
        {"mirostat": 2, "top_k": 1, "xtc_probability": 1.0, "typical_p": 0.1},
        {"repeat_penalty": 1.3, "typical_p": 0.9, "min_p": 0.02, "xtc_probability": 0.3, **DRY},
        {"repeat_penalty": 1.3, **DRY, "temperature": 0.0, "typical_p": 0.5},
        {"temperature": 0.0, "top_k": 0},
        {"temperature": 100.0, "top_k": 0},
        {"seed": 2**32 - 2},
    ],
    ids=str,
)
def test_it_chooses_what_llama_cpp_chooses(bench: Bench, chosen: dict[str, Any]) -> None:
    prediction = PredictionConfig.model_validate(OFF | chosen)
    rows = make_logits(bench.vocabulary.size, 120, seed=3)
    assert choose(bench, prediction, rows) == choose_natively(bench, prediction, rows)


@pytest.mark.parametrize(
    "chosen",
    [
        {"typical_p": 0.3},
        {"xtc_probability": 1.0},
        DRY,
        {"mirostat": 1},
        {"mirostat": 2, "mirostat_tau": 1.0},
        {"typical_p": 0.2, "temperature": 0.0},
        {"xtc_probability": 0.5, "temperature": 0.0},
        {**DRY, "temperature": 0.0},
    ],
    ids=str,
)
def test_each_setting_changes_something(bench: Bench, chosen: dict[str, Any]) -> None:
    rows = make_logits(bench.vocabulary.size, 120, seed=3)
    plain = OFF | {name: value for name, value in chosen.items() if name == "temperature"}
    with_it = choose(bench, PredictionConfig.model_validate(OFF | chosen), rows)
    assert with_it != choose(bench, PredictionConfig.model_validate(plain), rows)


def test_dry_looks_back_on_more_than_it_began_with(bench: Bench) -> None:
    prediction = PredictionConfig.model_validate(OFF | DRY | {"top_k": 12})
    rows = make_logits(bench.vocabulary.size, 2500, seed=5)
    assert choose(bench, prediction, rows) == choose_natively(bench, prediction, rows)


@given(
    st.lists(st.integers(65, 70), max_size=40),
    st.floats(0.1, 5),
    st.floats(1, 4),
    st.integers(0, 4),
    st.integers(1, 30) | st.just(-1),
    st.lists(st.sampled_from(["A", "BC", "\n", "CAB"]), max_size=2),
)
def test_dry_is_llama_cpps_for_any_history(
    bench: Bench,
    prompt: list[int],
    multiplier: float,
    base: float,
    allowed: int,
    last_n: int,
    breakers: list[str],
) -> None:
    prediction = PredictionConfig(
        temperature=0,
        seed=1,
        repeat_penalty=1,
        dry_multiplier=multiplier,
        dry_base=base,
        dry_allowed_length=allowed,
        dry_penalty_last_n=last_n,
        dry_sequence_breakers=tuple(breakers),
    )
    logits = np.full(bench.vocabulary.size, -50, dtype=np.float32)
    # No round distances: a penalty that is one would make equals, and equals have no order.
    logits[65:71] = 1 / np.sqrt([2, 3, 5, 7, 11, 13])
    with (
        closing(Sampler(prediction, prompt, bench.vocabulary)) as sampler,
        closing(ReferenceChain(prediction, prompt, bench.vocabulary)) as chain,
    ):
        for _ in range(8):
            bench.put(logits)
            token = sampler.sample(bench.outputs, 0)
            sampler.accept(token)
            assert token == chain.sample(logits)
