"""Bias and penalties do to the logits what their definitions say, on a real model's logits."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.llama_cpp.sampling.adjustments import make_adjustments
from lmrun.settings.prediction import PredictionConfig
from tests.engines.llama_cpp.bare import bare_model, read_logits
from tests.support.engines import Subject, generate, spec

OFF: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1.0}


def penalise(
    logits: Any, prompt: tuple[int, ...], answer: list[int], prediction: PredictionConfig
) -> list[float]:
    """The definitions, one token at a time, in Python's floats."""
    changed = [float(value) for value in logits]
    for token, amount in prediction.logit_bias.items():
        changed[token] += amount
    for token in set((*prompt, *answer)[-64:]):
        factor = prediction.repeat_penalty
        changed[token] = changed[token] / factor if changed[token] > 0 else changed[token] * factor
    for token, count in Counter(answer).items():
        changed[token] -= prediction.presence_penalty + count * prediction.frequency_penalty
    return changed


@pytest.mark.parametrize(
    "chosen",
    [
        {"repeat_penalty": 1.3},
        {"repeat_penalty": 0.8},
        {"presence_penalty": 0.9},
        {"presence_penalty": -0.7},
        {"frequency_penalty": 0.4},
        {"frequency_penalty": 2.0, "presence_penalty": 1.0, "repeat_penalty": 1.1},
        {"logit_bias": {65: 5.0, 66: -3.0}, "repeat_penalty": 1.2},
        {"logit_bias": {token: token / 7 - 6 for token in range(65, 90)}},
    ],
    ids=str,
)
@pytest.mark.parametrize("prompt_length", [3, 100])
def test_penalties_follow_their_definitions(
    tiny: Subject, chosen: dict[str, Any], prompt_length: int
) -> None:
    wanted = spec(1, prompt_length=prompt_length, max_tokens=90, **(OFF | chosen))
    plain = spec(1, prompt_length=prompt_length, max_tokens=90, **OFF)
    with closing(tiny.load(flash_attention=False, eval_batch_size=512)) as model:
        answer = generate(model, wanted)
        assert answer != generate(model, plain)
    with bare_model(tiny, eval_batch_size=512) as bare:
        for place, logits in enumerate(read_logits(bare, wanted.prompt, answer[:-1])):
            expected = penalise(logits, wanted.prompt, answer[:place], wanted.prediction)
            assert expected[answer[place]] == pytest.approx(max(expected), abs=1e-4)


@given(
    st.lists(st.integers(0, 19), min_size=1, max_size=100),
    st.lists(st.integers(0, 19), max_size=200),
    st.floats(0.5, 2),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
def test_any_history_is_penalised_as_defined(
    prompt: list[int], answer: list[int], repeat: float, presence: float, frequency: float
) -> None:
    prediction = PredictionConfig(
        repeat_penalty=repeat, presence_penalty=presence, frequency_penalty=frequency
    )
    logits = np.linspace(-5, 5, 20, dtype=np.float32)
    expected = penalise(logits, tuple(prompt), answer, prediction)
    adjustments = make_adjustments(prediction, prompt)
    for token in answer:
        for adjustment in adjustments:
            adjustment.accept(token)
    for adjustment in adjustments:
        adjustment.apply(logits)
    assert logits.tolist() == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_bias_forces_a_token(tiny: Subject, temperature: float) -> None:
    with closing(tiny.load()) as model:
        forced = spec(1, temperature=temperature, logit_bias={77: 100.0}, max_tokens=5)
        assert generate(model, forced) == [77] * 5


def test_a_bias_bans_a_token(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        answer = generate(model, spec(1, max_tokens=40, **OFF))
        favourite = Counter(answer).most_common(1)[0][0]
        banned = spec(1, max_tokens=40, logit_bias={favourite: -100.0}, **OFF)
        assert favourite not in generate(model, banned)


@pytest.mark.parametrize(
    "narrow", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"temperature": 0.0001}], ids=str
)
def test_each_truncation_narrows_to_the_likeliest_token(
    tiny: Subject, narrow: dict[str, Any]
) -> None:
    wide: dict[str, Any] = {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
    }
    with closing(tiny.load(flash_attention=False)) as model:
        greedy = generate(model, spec(1, max_tokens=30, **OFF))
        assert generate(model, spec(1, max_tokens=30, seed=1, **(wide | narrow))) == greedy
        assert generate(model, spec(1, max_tokens=30, seed=1, **wide)) != greedy
