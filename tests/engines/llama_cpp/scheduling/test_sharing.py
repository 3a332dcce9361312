"""A prefix is computed once: for requests that come together, one after another, or later."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.engines.base import (
    LoadedModel,
    PromptProcessed,
    SequenceSpec,
    TokenProduced,
)
from lmrun.engines.llama_cpp.memory import Memory, State
from lmrun.engines.llama_cpp.model import GenerationModel
from lmrun.engines.llama_cpp.scheduling.slots import WORTH_COPYING
from lmrun.settings.prediction import PredictionConfig
from tests.engines.llama_cpp.scheduling.fresh import EXACT, GREEDY, cached, expected
from tests.support.engines import Subject, drain, generate, spec, tokens_of
from tests.support.tiny_variants import write_tiny_gemma2, write_tiny_mamba

SEPARATE: dict[str, Any] = {"unified_kv_cache": False, **EXACT}
SHARED: dict[str, Any] = {"unified_kv_cache": True, **EXACT}
EITHER = pytest.mark.parametrize("caches", [SEPARATE, SHARED], ids=["separate", "shared"])
PREFIX = tuple(32 + (7 * position) % 90 for position in range(300))


def with_prefix(sequence: int, *, tail: int = 20, prefix: int = 300, **more: Any) -> SequenceSpec:
    """`prefix` common tokens, then `tail` tokens of this sequence's own."""
    own = tuple(32 + (11 * position + 3 * sequence) % 90 for position in range(tail))
    settings = PredictionConfig.model_validate({**GREEDY, "max_tokens": 12, **more})
    return SequenceSpec(sequence, PREFIX[:prefix] + own, settings)


@EITHER
def test_requests_that_come_together_compute_their_prefix_once(
    tiny: Subject, caches: dict[str, Any]
) -> None:
    wanted = [with_prefix(number) for number in range(6)]
    with closing(tiny.load(**caches, max_parallel_predictions=6)) as model:
        for each in wanted:
            model.add(each)
        events = drain(model)
        assert model.usage().prefilled_tokens == 300 + 6 * 20
        assert [cached(events[number]) for number in range(6)] == [0] + [300] * 5
        answers = [tokens_of(events[number]) for number in range(6)]
    assert answers == [expected(tiny, each) for each in wanted]


@EITHER
def test_a_prefix_is_taken_from_a_sequence_that_is_generating(
    tiny: Subject, caches: dict[str, Any]
) -> None:
    with closing(tiny.load(**caches)) as model:
        model.add(with_prefix(0, max_tokens=200))
        while not any(isinstance(event, TokenProduced) for event in model.step()):
            pass
        model.add(with_prefix(1))
        events = drain(model)
        assert cached(events[1]) == 300
        assert tokens_of(events[1]) == expected(tiny, with_prefix(1))
        assert tokens_of(events[0])[-150:] == expected(tiny, with_prefix(0, max_tokens=200))[-150:]


def step_until_processed(model: LoadedModel, tokens: int) -> None:
    for _ in range(100):
        for event in model.step():
            if isinstance(event, PromptProcessed) and event.processed >= tokens:
                return
    raise AssertionError("the prompt was never processed that far")


@EITHER
def test_who_waits_for_a_prefix_goes_on_with_what_is_there_when_its_donor_leaves(
    tiny: Subject, caches: dict[str, Any]
) -> None:
    with closing(tiny.load(**caches)) as model:
        model.add(with_prefix(0))
        model.add(with_prefix(1))
        model.add(with_prefix(2))
        step_until_processed(model, 48)
        model.cancel(0)
        events = drain(model)
        assert set(events) == {1, 2}
        assert 48 <= cached(events[1]) < 300 and cached(events[2]) == 300
        assert tokens_of(events[1]) == expected(tiny, with_prefix(1))
        assert tokens_of(events[2]) == expected(tiny, with_prefix(2))


@EITHER
def test_a_donor_that_leaves_before_it_began_leaves_nothing_and_harms_nobody(
    tiny: Subject, caches: dict[str, Any]
) -> None:
    with closing(tiny.load(**caches, max_parallel_predictions=4)) as model:
        model.add(spec(9, prompt_length=40, max_tokens=2))
        for number in range(3):
            model.add(with_prefix(number))
        model.step()
        model.cancel(0)
        model.cancel(1)
        assert tokens_of(drain(model)[2]) == expected(tiny, with_prefix(2))


def test_a_finished_prefix_is_parked_and_comes_back(tiny: Subject) -> None:
    with closing(tiny.load(**SHARED)) as model:
        first = generate(model, with_prefix(0))
        usage = model.usage()
        assert usage.prefix_cache_entries == 1 and usage.prefix_cache_bytes > 0
        assert usage.kv_tokens_used == 0
        model.add(with_prefix(1))
        events = drain(model)
        assert cached(events[1]) == 300
        assert tokens_of(events[1]) == expected(tiny, with_prefix(1))
        assert first == expected(tiny, with_prefix(0))


def test_a_shared_prefix_is_parked_once(tiny: Subject) -> None:
    with closing(tiny.load(unified_kv_cache=True)) as model:
        generate(model, with_prefix(0))
        alone = model.usage().prefix_cache_bytes
        for number in range(1, 5):
            generate(model, with_prefix(number))
        assert model.usage().prefix_cache_entries == 5
        assert model.usage().prefix_cache_bytes < 1.6 * alone


def test_a_conversation_of_many_turns_comes_back_in_pieces(tiny: Subject) -> None:
    with closing(tiny.load(**SHARED)) as model:
        prompt = PREFIX[:40]
        for turn in range(8):
            wanted = SequenceSpec(turn, prompt, PredictionConfig(**GREEDY, max_tokens=20))
            model.add(wanted)
            events = drain(model)[turn]
            assert cached(events) >= (len(prompt) - 31 if turn else 0)
            assert tokens_of(events) == expected(tiny, wanted)
            prompt = (*prompt, *tokens_of(events), *PREFIX[100 + turn : 130 + turn])
        assert model.usage().prefix_cache_entries == 8


def test_parked_prefixes_keep_to_their_budget(tiny: Subject) -> None:
    with closing(tiny.load(prefix_cache={"ram": "400kB"})) as model:
        for number in range(12):
            generate(model, spec(number, prompt_length=120, max_tokens=2))
            usage = model.usage()
            assert usage.prefix_cache_bytes <= usage.prefix_cache_limit == 400_000
        assert 0 < usage.prefix_cache_entries < 12


def test_without_a_budget_nothing_is_parked_but_live_sequences_share(tiny: Subject) -> None:
    with closing(tiny.load(prefix_cache={"ram": "0B"})) as model:
        model.add(with_prefix(0))
        model.add(with_prefix(1))
        assert cached(drain(model)[1]) == 300
        model.add(with_prefix(2))
        assert cached(drain(model)[2]) == 0
        assert model.usage().prefix_cache_entries == 0


def test_separate_caches_compute_a_prefix_once_and_copy_it(tiny: Subject) -> None:
    wanted = [with_prefix(number) for number in range(4)]
    with closing(tiny.load(**SEPARATE)) as model:
        for each in wanted:
            model.add(each)
        events = drain(model)
        assert model.usage().prefilled_tokens == 300 + 4 * 20
        assert [cached(events[number]) for number in range(4)] == [0] + [300] * 3
        for number, each in enumerate(wanted):
            assert tokens_of(events[number]) == expected(tiny, each)
        model.add(with_prefix(5))
        events = drain(model)
        assert cached(events[5]) == 300
        assert tokens_of(events[5]) == expected(tiny, with_prefix(5))


def test_what_a_copy_was_taken_from_goes_its_own_way(tiny: Subject) -> None:
    with closing(tiny.load(**SEPARATE)) as model:
        model.add(with_prefix(0, max_tokens=200))
        while not any(isinstance(event, TokenProduced) for event in model.step()):
            pass
        model.add(with_prefix(1, max_tokens=60))
        events = drain(model)
        assert cached(events[1]) == 300
        assert tokens_of(events[1]) == expected(tiny, with_prefix(1, max_tokens=60))
        assert tokens_of(events[0])[-150:] == expected(tiny, with_prefix(0, max_tokens=200))[-150:]


def test_a_copy_is_taken_of_what_is_there_when_its_source_leaves(tiny: Subject) -> None:
    with closing(tiny.load(**SEPARATE, eval_batch_size=64)) as model:
        model.add(with_prefix(0))
        model.add(with_prefix(1))
        step_until_processed(model, 64)
        model.cancel(0)
        events = drain(model)
        assert 0 < cached(events[1]) < 300
        assert tokens_of(events[1]) == expected(tiny, with_prefix(1))


def test_a_few_tokens_are_not_worth_a_copy(tiny: Subject) -> None:
    with closing(tiny.load(**SEPARATE)) as model:
        for number in range(2):
            model.add(with_prefix(number, prefix=WORTH_COPYING - 1))
        assert cached(drain(model)[1]) == 0


def test_few_tokens_of_a_long_sequence_are_not_worth_a_copy_of_all_of_it(tiny: Subject) -> None:
    with closing(tiny.load(**SEPARATE, context_length=4096, rope_frequency_scale=0.5)) as model:
        model.add(with_prefix(0, prefix=60, tail=4000, max_tokens=30))
        while not any(isinstance(event, TokenProduced) for event in model.step()):
            pass
        model.add(with_prefix(1, prefix=35))
        model.add(with_prefix(2, prefix=60))
        events = drain(model)
        assert cached(events[1]) == 0
        assert cached(events[2]) == 60


def memory_of(model: LoadedModel) -> Memory:
    assert isinstance(model, GenerationModel)
    return model._batched._context.memory


def test_a_copy_that_finds_no_room_is_computed_instead(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [with_prefix(number) for number in range(3)]
    with closing(tiny.load(**SEPARATE)) as model:
        restore, left = Memory.restore, [False]

        def fail_once(memory: Memory, slot: int, state: State) -> bool:
            return left.pop() if left else restore(memory, slot, state)

        monkeypatch.setattr(Memory, "restore", fail_once)
        for each in wanted:
            model.add(each)
        events = drain(model)
        assert not left and model.usage().kv_tokens_used == 0
        assert [cached(events[number]) for number in range(3)] == [0, 0, 300]
        usage = model.usage()
        assert (usage.prefilled_tokens, usage.cached_tokens) == (2 * 300 + 3 * 20, 300)
    for number, each in enumerate(wanted):
        assert tokens_of(events[number]) == expected(tiny, each)


@pytest.mark.parametrize("unified", [False, True])
def test_a_state_that_finds_no_room_leaves_its_slot_empty_and_disturbs_nobody(
    tiny: Subject, unified: bool
) -> None:
    beside = with_prefix(1, prefix=80)
    settings: dict[str, Any] = {"flash_attention": False}
    with (
        closing(tiny.load(context_length=1024, **settings)) as large,
        closing(
            tiny.load(
                context_length=256,
                # A unified pool has a slot more, for the prefix cache.
                max_parallel_predictions=2 - unified,
                unified_kv_cache=unified,
                **settings,
            )
        ) as small,
    ):
        large.add(spec(0, prompt_length=500, max_tokens=2))
        step_until_processed(large, 500)
        small.add(beside)
        step_until_processed(small, 100)
        memory = memory_of(small)
        assert not memory.restore(1, memory_of(large).export(0))
        assert memory.last_position(1) == -1
        assert memory.last_position(0) >= 99
        answer = tokens_of(drain(small)[1])
    assert answer == expected(tiny, beside)[-len(answer) :]


@EITHER
@pytest.mark.parametrize("write", [write_tiny_mamba, write_tiny_gemma2])
def test_what_cannot_be_cut_is_reused_whole_or_not_at_all_and_never_wrong(
    write: Callable[[Path], Path], caches: dict[str, Any], tmp_path: Path
) -> None:
    subject = Subject(write(tmp_path / "variant.gguf"))
    with closing(subject.load(**caches)) as model:
        for number in range(3):
            model.add(with_prefix(number, prefix=100))
        events = drain(model)
        for number in range(3):
            wanted = with_prefix(number, prefix=100)
            assert tokens_of(events[number]) == expected(subject, wanted)
        whole = (*with_prefix(0, prefix=100).prompt, *tokens_of(events[0])[:-1])
        further = SequenceSpec(7, (*whole, *PREFIX[:30]), PredictionConfig(**GREEDY, max_tokens=9))
        model.add(further)
        later = drain(model)[7]
        assert cached(later) == len(whole)
        assert tokens_of(later) == expected(subject, further)


def test_prompt_logprobs_are_computed_not_remembered(tiny: Subject) -> None:
    with closing(tiny.load()) as model:
        generate(model, with_prefix(0))
        model.add(with_prefix(1, echo=True, logprobs=0))
        events = drain(model)[1]
        scored = [token for event in events for token in getattr(event, "tokens", ())]
        assert cached(events) == 0 and len(scored) == 319
