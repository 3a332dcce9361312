"""Prediction and load settings: what they take, and how chosen ones lie over each other."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig


def test_what_was_chosen_above_wins_and_defaults_choose_nothing() -> None:
    below = PredictionConfig(temperature=0.2, top_k=1)
    above = PredictionConfig(temperature=0.8)
    merged = below.overlay(above)
    assert (merged.temperature, merged.top_k, merged.top_p) == (0.8, 1, 0.95)
    assert merged.model_fields_set == {"temperature", "top_k"}
    assert below.overlay(PredictionConfig()) == below


@pytest.mark.parametrize("key", [7, "7"])
def test_a_token_id_is_a_number_or_the_text_that_a_mapping_has_for_it(key: object) -> None:
    assert PredictionConfig.model_validate({"logit_bias": {key: 1}}).logit_bias == {7: 1.0}


@pytest.mark.parametrize(
    "value",
    [
        {"logit_bias": {"07": 1}},
        {"logit_bias": {"-1": 1}},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {"7.0": 1}},
        {"logit_bias": {str(2**31): 1}},
        {"logit_bias": {True: 1}},
        {"logit_bias": {7: 101}},
        {"temperature": True},
        {"temperature": "1"},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 1.0},
        {"stop_strings": "x"},
        {"stop_strings": [1]},
        {"stop_strings": ["x"] * 17},
        {"seed": 2**32},
        {"unknown": 1},
    ],
)
def test_a_wrong_prediction_setting_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PredictionConfig.model_validate(value)


@pytest.mark.parametrize(
    "value",
    [
        {"context_length": 7},
        {"context_length": "4096"},
        {"max_parallel_predictions": 0},
        {"gpu": {"ratio": 1.1}},
        {"gpu": {"ratio": "half"}},
        {"gpu": {"ratio": True}},
        {"k_cache_type": "q3_0"},
        {"flash_attention": 1},
        {"rope_frequency_base": 0},
        {"rope_frequency_base": 1e300},
        {"rope_frequency_scale": 1e-300},
        {"n_ctx": 4096},
    ],
)
def test_a_wrong_load_setting_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadConfig.model_validate(value)
