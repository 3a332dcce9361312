"""Speculation changes how fast an answer comes, never what it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.engines.base import (
    Attachments,
    LoadedModel,
    SequenceFailed,
    SequenceFinished,
    SequenceSpec,
    SequenceStats,
    StepEvent,
)
from lmrun.engines.llama_cpp.constraints.constraint import Constraint
from lmrun.engines.llama_cpp.constraints.refusals import ConstraintFailed
from lmrun.engines.llama_cpp.engine import engine
from lmrun.engines.llama_cpp.speculation.draft_model import ModelDrafter
from lmrun.errors import EngineError, InvalidParameter, SettingRefused, UnsupportedParameter
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.engines import Subject, drain, generate, spec, tokens_of
from tests.support.tiny_llama import TinyShape, write_tiny_llama
from tests.support.tiny_variants import write_tiny_mamba

GREEDY: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1.0}
PERIOD = tuple(range(40, 60))
EAGER = 60
"""Tokens after which a repeating sequence has had time to be guessed."""


class Guesser:
    """Proposes always: some right, some wrong, as many as it may."""

    def __init__(self, answer: list[int], prompt: int, wrong_every: int) -> None:
        self._answer = answer
        self._prompt = prompt
        self._wrong_every = wrong_every
        self.observed: list[tuple[int, int]] = []

    def propose(self, tokens: Any, most: int, costs: Any, rows: int) -> list[int]:
        done = len(tokens) - self._prompt
        guess = self._answer[done : done + most]
        return [
            (token + 1) % 500 if (done + place) % self._wrong_every == 0 else token
            for place, token in enumerate(guess)
        ]

    def observe(self, drafted: int, accepted: int) -> None:
        self.observed.append((drafted, accepted))

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def model(tiny: Subject) -> Iterator[LoadedModel]:
    with closing(tiny.load(flash_attention=False, max_parallel_predictions=4)) as loaded:
        yield loaded


def stats_of(events: list[StepEvent]) -> SequenceStats:
    (finished,) = [event for event in events if isinstance(event, SequenceFinished)]
    return finished.stats


@pytest.mark.parametrize("wrong_every", [2, 3, 7, 1000])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "seed": 5}])
def test_right_guesses_are_kept_and_wrong_ones_replaced(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, wrong_every: int, sampling: dict[str, Any]
) -> None:
    plain = spec(1, prompt_length=30, max_tokens=50, **{**GREEDY, **sampling})
    expected = generate(model, plain)
    guesser = Guesser(expected, 30, wrong_every)
    monkeypatch.setattr(
        "lmrun.engines.llama_cpp.drafting.PromptLookup", lambda: guesser, raising=True
    )
    wanted = {**GREEDY, **sampling, "max_tokens": 50, "prompt_lookup": True}
    model.add(SequenceSpec(1, plain.prompt, PredictionConfig.model_validate(wanted)))
    model.add(spec(2, prompt_length=40, max_tokens=60))
    events = drain(model)
    assert tokens_of(events[1]) == expected
    assert len(tokens_of(events[2])) == 60
    stats = stats_of(events[1])
    assert (stats.drafted, stats.accepted) == tuple(map(sum, zip(*guesser.observed, strict=True)))
    assert all(0 <= accepted <= drafted for drafted, accepted in guesser.observed)
    assert stats.accepted > (40 if wrong_every == 1000 else 5)
    usage = model.usage()
    assert (usage.drafted_tokens, usage.accepted_tokens) == (stats.drafted, stats.accepted)


def test_what_was_guessed_wrong_leaves_no_trace_in_the_prefix_cache(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = spec(1, prompt_length=30, max_tokens=40, **GREEDY)
    expected = generate(model, plain)
    monkeypatch.setattr(
        "lmrun.engines.llama_cpp.drafting.PromptLookup", lambda: Guesser(expected, 30, 3)
    )
    lookup = PredictionConfig(**GREEDY, max_tokens=25, prompt_lookup=True)
    with_guesses = SequenceSpec(1, plain.prompt, lookup)
    assert generate(model, with_guesses) == expected[:25]
    further = SequenceSpec(2, (*plain.prompt, *expected[:25]), PredictionConfig(**GREEDY))
    model.add(SequenceSpec(2, further.prompt, PredictionConfig(**GREEDY, max_tokens=15)))
    assert tokens_of(drain(model)[2]) == expected[25:]


def test_prompt_lookup_is_plain_decoding_on_a_repeating_text(model: LoadedModel) -> None:
    prompt = PERIOD * 6
    expected = generate(
        model, SequenceSpec(1, prompt, PredictionConfig(**GREEDY, max_tokens=EAGER))
    )
    lookup = PredictionConfig(**GREEDY, max_tokens=EAGER, prompt_lookup=True)
    assert generate(model, SequenceSpec(2, prompt, lookup)) == expected


def load_with_draft(path: Path, draft: Path) -> LoadedModel:
    config = LoadConfig(context_length=512, flash_attention=False)
    attachments = Attachments(draft_model=str(draft))
    return engine.load(
        path, config, threads=1, on_progress=lambda fraction: None, attachments=attachments
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_a_draft_model_changes_nothing_about_the_answers(
    tiny: Subject, tmp_path: Path, seed: int
) -> None:
    draft = write_tiny_llama(tmp_path / "draft.gguf", seed=seed, shape=TinyShape(layers=2))
    wanted = [spec(n, prompt_length=20 * n, max_tokens=30, **GREEDY) for n in (1, 2, 3)]
    with closing(tiny.load(flash_attention=False)) as plain:
        expected = [generate(plain, each) for each in wanted]
    with closing(load_with_draft(tiny.path, draft)) as model:
        assert [generate(model, each) for each in wanted] == expected


def test_a_perfect_draft_model_is_accepted(tiny: Subject, model: LoadedModel) -> None:
    model.prepare_draft_model(str(tiny.path))
    plain = spec(1, prompt_length=30, max_tokens=60, **GREEDY)
    expected = generate(model, plain)
    model.add(SequenceSpec(1, plain.prompt, plain.prediction, draft_model=str(tiny.path)))
    events = drain(model)[1]
    assert tokens_of(events) == expected
    stats = stats_of(events)
    assert stats.drafted > 0 and stats.accepted >= 0.9 * stats.drafted


def test_a_draft_model_with_another_vocabulary_is_refused_and_both_are_named(
    tiny: Subject, tmp_path: Path
) -> None:
    other = write_tiny_llama(tmp_path / "other.gguf", shape=TinyShape(vocab_size=300))
    with pytest.raises(SettingRefused) as refused:
        load_with_draft(tiny.path, other)
    assert str(tiny.path) in str(refused.value) and str(other) in str(refused.value)
    with closing(tiny.load()) as model, pytest.raises(InvalidParameter) as invalid:
        model.prepare_draft_model(str(other))
    assert invalid.value.param == "draft_model" and str(other) in str(invalid.value)


def test_a_model_that_cannot_take_back_does_not_speculate(tmp_path: Path) -> None:
    subject = Subject(write_tiny_mamba(tmp_path / "mamba.gguf"))
    with closing(subject.load()) as model, pytest.raises(UnsupportedParameter) as refused:
        model.add(spec(1, prompt_lookup=True))
    assert refused.value.param == "prompt_lookup"


def test_a_grammar_that_breaks_over_a_guess_ends_its_sequence_alone(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(constraint: Constraint, tokens: list[int]) -> int:
        raise ConstraintFailed("It is too large.")

    monkeypatch.setattr(Constraint, "count_allowed", fail)
    monkeypatch.setattr(
        "lmrun.engines.llama_cpp.drafting.PromptLookup", lambda: Guesser([97] * 99, 5, 1000)
    )
    regex = {"type": "regex", "regex": "[a-z]{50}"}
    model.add(spec(1, structured=regex, prompt_lookup=True))
    model.add(spec(2, max_tokens=30))
    events = drain(model)
    assert events[1][-1] == SequenceFailed(1, "It is too large.")
    assert len(tokens_of(events[2])) == 30
    assert model.usage().kv_tokens_used == 0


def test_a_draft_model_that_fails_ends_its_sequence_alone(
    tiny: Subject, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> list[int]:
        raise EngineError("The draft model has no room.")

    monkeypatch.setattr(ModelDrafter, "propose", fail)
    plain = spec(1, max_tokens=30)
    model.add(SequenceSpec(1, plain.prompt, plain.prediction, draft_model=str(tiny.path)))
    model.add(spec(2, max_tokens=30))
    events = drain(model)
    assert events[1][-1] == SequenceFailed(1, "The draft model has no room.")
    assert len(tokens_of(events[2])) == 30


def test_guesses_never_exceed_the_limit_or_the_context(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(tiny.load(flash_attention=False, context_length=64)) as model:
        expected = generate(model, spec(1, prompt_length=30, **GREEDY))
        monkeypatch.setattr(
            "lmrun.engines.llama_cpp.drafting.PromptLookup", lambda: Guesser(expected, 30, 1000)
        )
        for most in (1, 2, 9, -1):
            wanted = spec(1, prompt_length=30, prompt_lookup=True, max_tokens=most, **GREEDY)
            assert generate(model, wanted) == expected[: most if most >= 0 else None]


def test_who_cancels_learns_what_was_guessed_so_far(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate(model, spec(1, prompt_length=30, max_tokens=60, **GREEDY))
    monkeypatch.setattr(
        "lmrun.engines.llama_cpp.drafting.PromptLookup", lambda: Guesser(expected, 30, 1000)
    )
    model.add(spec(1, prompt_length=30, prompt_lookup=True, max_tokens=60, **GREEDY))
    while len(tokens_of(model.step())) < 2:
        pass
    stats = model.cancel(1)
    assert stats is not None and stats.drafted >= stats.accepted > 0
    assert model.cancel(1) is None


def test_a_model_that_cannot_take_back_is_not_loaded_with_a_draft_model(
    tiny: Subject, tmp_path: Path
) -> None:
    mamba = write_tiny_mamba(tmp_path / "mamba.gguf")
    with pytest.raises(SettingRefused) as refused:
        load_with_draft(mamba, tiny.path)
    assert refused.value.param == "load.draft_model"
