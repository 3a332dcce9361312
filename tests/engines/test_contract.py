"""What every engine promises, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.engines.base import (
    LoadedModel,
    PromptProcessed,
    SequenceFinished,
    StepEvent,
    TokenProduced,
)
from lmrun.errors import ContextOverflow, InvalidParameter, SettingRefused, UnsupportedParameter
from tests.support.engines import Subject, drain, generate, is_last, spec, tokens_of

TEXTS = ["", "Hello, world", "  spaces  ", "naïve café", "日本語", "🙂\n\t\0", "<|im_end|>"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("parse_special", [False, True])
def test_text_comes_back_from_its_tokens(subject: Subject, text: str, parse_special: bool) -> None:
    with closing(subject.load()) as model:
        tokens = model.tokenize(text, add_special=False, parse_special=parse_special)
        assert model.detokenize(tokens) == text.encode()


def test_a_lone_surrogate_is_no_text(subject: Subject) -> None:
    with closing(subject.load()) as model, pytest.raises(InvalidParameter, match="surrogate"):
        model.tokenize("a\ud800", add_special=False, parse_special=False)


@pytest.mark.parametrize("wrong", [-1, 10**6, 2**31 - 1])
def test_a_token_outside_the_vocabulary_is_refused(subject: Subject, wrong: int) -> None:
    with closing(subject.load()) as model:
        with pytest.raises(InvalidParameter, match=str(wrong)):
            model.detokenize([1, wrong])
        bad = spec(1)
        with pytest.raises(InvalidParameter) as refused:
            model.add(type(bad)(1, (1, wrong), bad.prediction))
        assert refused.value.param == "prompt"
        assert (model.active, model.waiting) == (0, 0)


def test_a_bias_on_an_unknown_token_is_refused_by_name(subject: Subject) -> None:
    with closing(subject.load()) as model:
        with pytest.raises(InvalidParameter) as refused:
            model.add(spec(1, logit_bias={model.info.vocab_size: 1.0}))
        assert refused.value.param == "logit_bias"
        model.add(spec(1, logit_bias={model.info.vocab_size - 1: -1.0}, max_tokens=1))
        assert len(tokens_of(drain(model)[1])) == 1


def test_progress_goes_from_zero_to_one(subject: Subject) -> None:
    seen: list[float] = []
    subject.load(on_progress=seen.append).close()
    assert seen == sorted(seen)
    assert seen[0] >= 0 and seen[-1] == 1.0


def test_what_the_progress_callback_raises_ends_the_load(subject: Subject) -> None:
    def stop(fraction: float) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        subject.load(on_progress=stop)


def test_a_context_longer_than_the_model_knows_is_refused(subject: Subject) -> None:
    with pytest.raises(SettingRefused) as refused:
        subject.load(context_length=65_536)
    assert refused.value.param == "load.context_length"


def test_a_model_says_what_it_is(subject: Subject) -> None:
    with closing(subject.load(context_length=128, max_parallel_predictions=3)) as model:
        info = model.info
        assert (info.engine, info.type) == (subject.name, "llm")
        assert (info.context_length, info.max_sequences) == (128, 3)
        assert info.chat_template is not None and "im_start" in info.chat_template
        assert info.engine_version


def test_a_prompt_streams_its_answer_token_by_token(subject: Subject) -> None:
    with closing(subject.load()) as model:
        model.add(spec(7, prompt_length=40, max_tokens=6))
        seen: list[StepEvent] = []
        steps = 0
        while model.active or model.waiting:
            seen += model.step()
            steps += 1
        processed = [event.processed for event in seen if isinstance(event, PromptProcessed)]
        tokens = [event for event in seen if isinstance(event, TokenProduced)]
        assert processed == sorted(processed) and processed[-1] == 40 and len(processed) >= 3
        assert seen[: len(processed)] == [e for e in seen if isinstance(e, PromptProcessed)]
        assert len(tokens) == 6 and steps >= 8
        assert model.detokenize([event.token for event in tokens])
        assert seen[-1] == SequenceFinished(7, "maxPredictedTokensReached")


def test_a_step_without_sequences_returns_at_once_with_nothing(subject: Subject) -> None:
    with closing(subject.load()) as model:
        assert model.step() == []


def test_sequences_generate_in_the_same_steps(subject: Subject) -> None:
    with closing(subject.load(max_parallel_predictions=4)) as model:
        for sequence in range(4):
            model.add(spec(sequence, max_tokens=20))
        together = 0
        while model.active or model.waiting:
            produced = {e.sequence for e in model.step() if isinstance(e, TokenProduced)}
            together += len(produced) == 4
        assert together >= 15


def test_every_sequence_of_a_batch_gets_all_its_tokens(subject: Subject) -> None:
    with closing(subject.load(max_parallel_predictions=4)) as model:
        for sequence in range(4):
            model.add(spec(sequence, prompt_length=5 + 9 * sequence, max_tokens=10 + sequence))
        events = drain(model)
        assert {key: len(tokens_of(value)) for key, value in events.items()} == {
            0: 10,
            1: 11,
            2: 12,
            3: 13,
        }


def test_sequences_over_the_limit_wait_and_come_first_come_first_served(subject: Subject) -> None:
    with closing(subject.load(max_parallel_predictions=2)) as model:
        for sequence in range(6):
            model.add(spec(sequence, max_tokens=3))
        assert (model.active, model.waiting) == (0, 6)
        started: list[int] = []
        while model.active or model.waiting:
            events = model.step()
            assert model.active <= 2
            first = [e.sequence for e in events if isinstance(e, PromptProcessed)]
            started += [sequence for sequence in first if sequence not in started]
        assert started == [0, 1, 2, 3, 4, 5]


def test_an_answer_may_end_by_itself(subject: Subject) -> None:
    with closing(subject.load()) as model:
        model.add(subject.ending(model, 3))
        assert drain(model)[3][-1] == SequenceFinished(3, "eosFound")


@pytest.mark.parametrize("most", [0, 1, 2, 17])
def test_max_tokens_is_exact(subject: Subject, most: int) -> None:
    with closing(subject.load()) as model:
        model.add(spec(1, max_tokens=most))
        events = drain(model)[1]
        assert len(tokens_of(events)) == most
        assert events[-1] == SequenceFinished(1, "maxPredictedTokensReached")


@pytest.mark.parametrize("prompt_length", [1, 32, 62, 63])
def test_the_context_is_filled_to_its_last_token(subject: Subject, prompt_length: int) -> None:
    with closing(subject.load(context_length=64)) as model:
        model.add(spec(1, prompt_length=prompt_length))
        events = drain(model)[1]
        assert prompt_length + len(tokens_of(events)) == 64
        assert events[-1] == SequenceFinished(1, "contextLengthReached")


@pytest.mark.parametrize("prompt_length", [64, 65, 500])
def test_a_prompt_that_leaves_no_room_is_refused(subject: Subject, prompt_length: int) -> None:
    with closing(subject.load(context_length=64)) as model:
        with pytest.raises(ContextOverflow) as refused:
            model.add(spec(1, prompt_length=prompt_length))
        assert str(prompt_length) in str(refused.value) and "64" in str(refused.value)
        assert (model.active, model.waiting) == (0, 0)


def test_an_empty_prompt_is_refused(subject: Subject) -> None:
    with closing(subject.load()) as model, pytest.raises(InvalidParameter, match="prompt"):
        model.add(spec(1, prompt_length=0))


def test_an_id_that_is_in_use_is_refused_and_free_again_afterwards(subject: Subject) -> None:
    with closing(subject.load()) as model:
        model.add(spec(1, max_tokens=2))
        with pytest.raises(InvalidParameter, match="1"):
            model.add(spec(1))
        drain(model)
        assert len(generate(model, spec(1, max_tokens=2))) == 2


def test_the_same_seed_gives_the_same_tokens_alone(subject: Subject) -> None:
    with closing(subject.load(flash_attention=False)) as model:
        wanted = spec(1, prompt_length=50, seed=42, max_tokens=40)
        first = generate(model, wanted)
        generate(model, spec(2, prompt_length=20, seed=3, max_tokens=9))
        assert generate(model, wanted) == first
    with closing(subject.load(flash_attention=False)) as model:
        assert generate(model, wanted) == first


def until_waiting(model: LoadedModel) -> bool:
    return model.waiting == 2


def until_prefill(model: LoadedModel) -> bool:
    return any(isinstance(event, PromptProcessed) for event in model.step())


def until_first_token(model: LoadedModel) -> bool:
    return any(isinstance(event, TokenProduced) for event in model.step())


def until_mid_stream(model: LoadedModel) -> bool:
    return sum(until_first_token(model) for _ in range(5)) >= 3


@pytest.mark.parametrize(
    "reached", [until_waiting, until_prefill, until_first_token, until_mid_stream]
)
def test_cancel_frees_the_place_within_one_step(
    subject: Subject, reached: Callable[[LoadedModel], bool]
) -> None:
    with closing(subject.load(max_parallel_predictions=1)) as model:
        model.add(spec(1, prompt_length=100))
        model.add(spec(2, max_tokens=3))
        assert any(reached(model) for _ in range(20))
        model.cancel(1)
        assert model.active + model.waiting == 1
        first = model.step()
        assert {event.sequence for event in first} == {2}
        assert set(drain(model)) <= {2}


def test_a_cancelled_sequence_that_waited_is_gone(subject: Subject) -> None:
    with closing(subject.load(max_parallel_predictions=1)) as model:
        for sequence in (1, 2, 3):
            model.add(spec(sequence, max_tokens=4))
        model.step()
        model.cancel(2)
        assert (model.active, model.waiting) == (1, 1)
        assert set(drain(model)) == {1, 3}


def test_cancelling_what_is_not_there_is_ignored(subject: Subject) -> None:
    with closing(subject.load()) as model:
        model.cancel(99)
        assert len(generate(model, spec(1, max_tokens=2))) == 2
        model.cancel(1)
        assert model.step() == []


Act = tuple[str, int]
ACTS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "cancel", "step", "step"]), st.integers(0, 60)),
    max_size=60,
)


def act_on(model: LoadedModel, acts: list[Act]) -> tuple[set[int], set[int], list[StepEvent]]:
    """Do what `acts` say, then drain: ids that were added, ids cancelled in time, all events."""
    added: set[int] = set()
    cancelled: set[int] = set()
    events: list[StepEvent] = []
    for verb, number in acts:
        ended = {event.sequence for event in events if is_last(event)}
        if verb == "add":
            sequence = len(added)
            model.add(spec(sequence, prompt_length=1 + number, max_tokens=number % 9))
            added.add(sequence)
        elif verb == "cancel":
            model.cancel(number)
            if number in added - ended:
                cancelled.add(number)
        else:
            events += model.step()
        assert not {event.sequence for event in events} - added
    for rest in drain(model).values():
        events += rest
    return added, cancelled, events


@pytest.fixture(scope="module")
def crowded(subject: Subject) -> Any:
    with closing(subject.load(context_length=128, max_parallel_predictions=3)) as model:
        yield model


@given(acts=ACTS)
@settings(deadline=None, max_examples=40)
def test_in_any_storm_every_sequence_ends_once_or_is_cancelled(
    crowded: LoadedModel, acts: list[Act]
) -> None:
    added, cancelled, events = act_on(crowded, acts)
    ends = [event.sequence for event in events if is_last(event)]
    assert sorted(ends) == sorted(added - cancelled)
    assert (crowded.active, crowded.waiting) == (0, 0)
    assert crowded.step() == []


def test_no_event_follows_a_cancel(subject: Subject) -> None:
    with closing(subject.load(max_parallel_predictions=2)) as model:
        for sequence in range(8):
            model.add(spec(sequence, prompt_length=20))
        gone: set[int] = set()
        for sequence in range(8):
            for event in model.step() + model.step():
                assert event.sequence not in gone
            model.cancel(sequence)
            gone.add(sequence)
        assert (model.active, model.waiting, model.step()) == (0, 0, [])


def test_a_text_model_gives_no_embeddings(subject: Subject) -> None:
    with closing(subject.load()) as model, pytest.raises(UnsupportedParameter):
        model.embed([[1, 2, 3]])


def test_threads_may_change_between_steps(subject: Subject) -> None:
    with closing(subject.load()) as model:
        model.add(spec(1, max_tokens=8))
        for threads in (1, 2, 1):
            model.set_threads(threads)
            model.step()
        assert isinstance(drain(model)[1][-1], SequenceFinished)


def test_closing_with_sequences_at_work_is_clean(subject: Subject) -> None:
    model = subject.load(max_parallel_predictions=1)
    for sequence in range(3):
        model.add(spec(sequence))
    model.step()
    model.close()
    model.close()


def test_nothing_is_printed(subject: Subject, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(subject.load()) as model:
        generate(model, spec(1, max_tokens=2))
    assert tuple(capfd.readouterr()) == ("", "")
