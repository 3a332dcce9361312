"""What happens when a context is full: the end, or going on with a part of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.base import PromptProcessed, SequenceFinished, SequenceSpec
from lmrun.engines.llama_cpp.scheduling.overflow import Tokens, fit_prompt, shift
from lmrun.errors import ContextOverflow, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from tests.support.engines import Subject, drain, generate, spec, tokens_of
from tests.support.tiny_variants import write_tiny_gemma2, write_tiny_mamba

GREEDY: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1.0}


@given(
    length=st.integers(1, 300),
    context=st.integers(8, 128),
    keep=st.integers(0, 20),
    answer=st.integers(-1, 200),
)
def test_a_fitted_prompt_keeps_its_beginning_and_its_end(
    length: int, context: int, keep: int, answer: int
) -> None:
    prompt = np.arange(length, dtype=np.int32)
    keep = min(keep, length)
    try:
        fitted = fit_prompt(prompt, context, keep, answer)
    except ContextOverflow:
        assert length >= keep >= context - max(1, context // 4)
        return
    assert len(fitted) < context
    assert fitted[:keep].tolist() == list(range(keep))
    assert fitted[-1] == length - 1
    assert len(fitted) == length or len(fitted) >= context - context // 4 - 1


@given(context=st.integers(8, 128), extra=st.integers(0, 20), keep=st.integers(0, 126))
def test_a_shifted_sequence_keeps_its_beginning_and_its_newest_tokens(
    context: int, extra: int, keep: int
) -> None:
    tokens = np.arange(context + extra, dtype=np.int32)
    left = shift(tokens, context, keep)
    kept = min(keep, context - 2)
    assert left[:kept].tolist() == list(range(kept))
    assert left[-1] == tokens[-1]
    assert kept < len(left) < context


@pytest.mark.parametrize("policy", ["truncateMiddle", "rollingWindow"])
def test_an_answer_goes_on_beyond_the_context(tiny: Subject, policy: str) -> None:
    with closing(tiny.load(context_length=64)) as model:
        model.add(spec(1, prompt_length=30, context_overflow_policy=policy, max_tokens=200))
        events = drain(model)[1]
        assert len(tokens_of(events)) == 200
        finished = events[-1]
        assert isinstance(finished, SequenceFinished)
        assert finished.reason == "maxPredictedTokensReached"
        assert finished.stats.shifted > 100
        processed = [event.processed for event in events if isinstance(event, PromptProcessed)]
        assert processed == sorted(processed) and processed[-1] == 30


def test_after_a_shift_the_model_sees_the_kept_beginning_and_the_newest_tokens(
    tiny: Subject,
) -> None:
    settings = PredictionConfig.model_validate(
        {**GREEDY, "max_tokens": 80, "context_overflow_policy": "truncateMiddle"}
    )
    prompt = spec(1, prompt_length=40).prompt
    with closing(tiny.load(context_length=64, flash_attention=False)) as model:
        tokens = generate(model, SequenceSpec(1, prompt, settings, keep=10))
    whole = [*prompt, *tokens]
    seen = shift(np.array(whole[:64], dtype=np.int32), 64, 10).tolist()
    with closing(tiny.load(context_length=64, flash_attention=False)) as model:
        again = SequenceSpec(1, tuple(seen), PredictionConfig(**GREEDY, max_tokens=20))
        assert generate(model, again) == whole[64:84]


@pytest.mark.parametrize("policy", ["truncateMiddle", "rollingWindow"])
def test_a_prompt_beyond_the_context_is_shortened(tiny: Subject, policy: str) -> None:
    with closing(tiny.load(context_length=64)) as model:
        model.add(spec(1, prompt_length=500, context_overflow_policy=policy, max_tokens=10))
        events = drain(model)[1]
        assert len(tokens_of(events)) == 10
        finished = events[-1]
        assert isinstance(finished, SequenceFinished) and finished.stats.shifted == 500 - 54


def test_a_prompt_that_is_shortened_has_no_log_probabilities(tiny: Subject) -> None:
    asked = {"context_overflow_policy": "rollingWindow", "echo": True, "logprobs": 1}
    with closing(tiny.load(context_length=64)) as model:
        with pytest.raises(UnsupportedParameter, match="52 tokens") as refused:
            model.add(spec(1, prompt_length=100, max_tokens=-1, **asked))
        assert refused.value.param == "echo" and model.waiting == 0
        model.add(spec(1, prompt_length=40, max_tokens=5, **asked))
        assert len(tokens_of(drain(model)[1])) == 5


def test_a_beginning_that_leaves_no_room_is_refused(tiny: Subject) -> None:
    settings = PredictionConfig(context_overflow_policy="truncateMiddle")
    with closing(tiny.load(context_length=64)) as model, pytest.raises(ContextOverflow, match="60"):
        model.add(SequenceSpec(1, spec(1, prompt_length=100).prompt, settings, keep=60))


@pytest.mark.parametrize("write", [write_tiny_mamba, write_tiny_gemma2])
@pytest.mark.parametrize("lengths", [(1, 1, 20), (21, 36, 20), (61, 57, 20)])
def test_sequences_that_repeat_each_other_overflow_beside_each_other_where_nothing_can_be_cut(
    write: Callable[[Path], Path], lengths: tuple[int, ...], tmp_path: Path
) -> None:
    subject = Subject(write(tmp_path / "variant.gguf"))
    rolling = PredictionConfig(
        temperature=0,
        logit_bias={120: 100.0},
        max_tokens=160,
        context_overflow_policy="rollingWindow",
    )
    with closing(subject.load(context_length=64)) as model:
        for number, length in enumerate(lengths):
            model.add(SequenceSpec(number, (120,) * length, rolling))
        events = drain(model)
        assert [tokens_of(events[number]) for number in range(3)] == [[120] * 160] * 3


@pytest.mark.parametrize("keep", [0, 20, 47, 48, 1000])
def test_what_is_kept_stays_however_much_it_is(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    left: list[list[int]] = []

    def note(tokens: Tokens, context_length: int, keep: int) -> Tokens:
        left.append(shift(tokens, context_length, keep).tolist())
        return np.array(left[-1], dtype=np.int32)

    monkeypatch.setattr("lmrun.engines.llama_cpp.scheduling.sequence.shift", note)
    wanted = spec(
        1, prompt_length=48, context_overflow_policy="truncateMiddle", max_tokens=100, **GREEDY
    )
    with closing(tiny.load(context_length=64)) as model:
        model.add(SequenceSpec(1, wanted.prompt, wanted.prediction, keep=keep))
        assert len(tokens_of(drain(model)[1])) == 100
    kept = min(keep, 48)
    assert left and all(tuple(tokens[:kept]) == wanted.prompt[:kept] for tokens in left)


def test_two_that_overflow_share_a_pool_with_a_third(tiny: Subject) -> None:
    with closing(tiny.load(context_length=64, max_parallel_predictions=3)) as model:
        for number in (1, 2):
            model.add(
                spec(number, context_overflow_policy="rollingWindow", max_tokens=150 + number)
            )
        model.add(spec(3, prompt_length=50))
        events = drain(model)
        assert [len(tokens_of(events[number])) for number in (1, 2, 3)] == [151, 152, 14]
        assert model.usage().kv_tokens_used == 0
