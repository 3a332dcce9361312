"""A grammar holds whatever else the sequence does, and what it leaves no choice about is free."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

import pytest

from lmrun.engines.base import LoadedModel, SequenceFinished, SequenceSpec
from lmrun.errors import InvalidParameter
from tests.support.engines import Subject, drain, spec, tokens_of

LONG = "the-grammar-says-all-of-this-[0-9]{2}-and-all-of-that-[ab]"


def text_of(model: LoadedModel, tokens: list[int]) -> str:
    return model.detokenize(tokens).decode()


def constrained(sequence: int, regex: str = LONG, **prediction: Any) -> SequenceSpec:
    structured = {"type": "regex", "regex": regex}
    return spec(sequence, 5, **{"structured": structured, "max_tokens": 100, **prediction})


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_an_answer_matches_and_ends_by_itself(tiny: Subject, temperature: float) -> None:
    with closing(tiny.load()) as model:
        model.add(constrained(1, temperature=temperature, seed=4))
        events = drain(model)[1]
        assert re.fullmatch(LONG, text_of(model, tokens_of(events)))
        finished = events[-1]
        assert isinstance(finished, SequenceFinished) and finished.reason == "eosFound"
        assert finished.stats.forced > 30


def test_forced_tokens_need_no_step_of_their_own(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        model.add(constrained(1))
        steps, tokens = 0, 0
        while model.active or model.waiting:
            tokens += len(tokens_of(model.step()))
            steps += 1
        assert tokens > 30 and steps <= 8


def test_constrained_and_free_sequences_share_steps(tiny: Subject) -> None:
    with closing(tiny.load(max_parallel_predictions=4, flash_attention=False)) as model:
        for number in range(4):
            model.add(constrained(number) if number % 2 else spec(number, 9, max_tokens=40))
        events = drain(model)
        assert re.fullmatch(LONG, text_of(model, tokens_of(events[1])))
        assert re.fullmatch(LONG, text_of(model, tokens_of(events[3])))
        assert len(tokens_of(events[0])) == len(tokens_of(events[2])) == 40


@pytest.mark.parametrize("most", [1, 5, 17])
def test_max_tokens_holds_within_forced_tokens(tiny: Subject, most: int) -> None:
    with closing(tiny.load()) as model:
        model.add(constrained(1, max_tokens=most))
        events = drain(model)[1]
        assert len(tokens_of(events)) == most
        finished = events[-1]
        assert isinstance(finished, SequenceFinished)
        assert finished.reason == "maxPredictedTokensReached"


def test_more_forced_tokens_than_a_batch_holds(tiny: Subject) -> None:
    regex = "x" * 700 + "[01]"
    with closing(tiny.load(context_length=1024, max_parallel_predictions=2)) as model:
        model.add(constrained(1, regex, max_tokens=-1))
        model.add(constrained(2, regex, max_tokens=-1))
        events = drain(model)
        for number in (1, 2):
            assert re.fullmatch(regex, text_of(model, tokens_of(events[number])))


@pytest.mark.parametrize("logprobs", [None, 0])
def test_an_answer_that_is_complete_needs_no_decode_to_end(
    tiny: Subject, logprobs: int | None
) -> None:
    with closing(tiny.load()) as model:
        model.add(constrained(1, "[ab]", logprobs=logprobs))
        events = model.step()
        assert len(tokens_of(events)) == 1 and isinstance(events[-1], SequenceFinished)


def test_every_token_of_a_constrained_answer_has_its_logprob(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        model.add(constrained(1, logprobs=1))
        events = drain(model)[1]
        produced = [event for event in events if type(event).__name__ == "TokenProduced"]
        assert all(event.logprob is not None for event in produced)  # type: ignore[union-attr]
        assert re.fullmatch(LONG, text_of(model, tokens_of(events)))


def test_a_constraint_survives_speculation(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        regex = "(abcabcabcabc[xy]){8}"
        model.add(constrained(1, regex, prompt_lookup=True, temperature=0, max_tokens=120))
        assert re.fullmatch(regex, text_of(model, tokens_of(drain(model)[1])))


def test_what_cannot_be_enforced_is_refused_and_nothing_is_queued(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        with pytest.raises(InvalidParameter):
            model.add(constrained(1, "(unclosed"))
        assert (model.active, model.waiting) == (0, 0)
