"""With separate caches what an ended sequence computed rests in its slot, and those that stream sit
side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.engines.base import Attachments, CacheStore, LoadedModel, SequenceSpec
from lmrun.engines.llama_cpp.engine import engine
from lmrun.engines.llama_cpp.memory import Memory
from lmrun.engines.llama_cpp.model import GenerationModel
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.engines.llama_cpp.scheduling.fresh import (
    EXACT,
    GREEDY,
    cached,
    expected,
    run_as_expected,
)
from tests.support.engines import Subject, drain, generate, tokens_of
from tests.support.tiny_variants import write_tiny_gemma2, write_tiny_mamba


def talk(sequence: int, prompt: tuple[int, ...], tokens: int = 12, **more: Any) -> SequenceSpec:
    settings = PredictionConfig.model_validate({**GREEDY, "max_tokens": tokens, **more})
    return SequenceSpec(sequence, prompt, settings)


def words(topic: int, length: int) -> tuple[int, ...]:
    """Tokens that begin like those of no other topic."""
    return tuple(32 + (7 * position + 13 * topic) % 90 for position in range(length))


def go_on(model: LoadedModel, wanted: SequenceSpec) -> tuple[tuple[int, ...], int]:
    """All of a conversation after an answer, and how much of the prompt was there already."""
    model.add(wanted)
    events = drain(model)[wanted.id]
    return (*wanted.prompt, *tokens_of(events)), cached(events)


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a slot was copied out, and something copied into one."""
    counts: Counter[str] = Counter()
    for name in ("export", "restore"):
        original = getattr(Memory, name)

        def count(*args: Any, _name: str = name, _original: Any = original) -> Any:
            counts[_name] += 1
            return _original(*args)

        monkeypatch.setattr(Memory, name, count)
    return counts


def test_the_next_turn_of_a_conversation_finds_its_cache_in_place(
    tiny: Subject, moves: Counter[str]
) -> None:
    with closing(tiny.load(**EXACT)) as model:
        said, _ = go_on(model, talk(0, words(0, 60)))
        for turn in range(1, 4):
            wanted = talk(turn, said + words(turn, 20))
            before = said
            said, known = go_on(model, wanted)
            assert known == len(before) - 1
            assert said == (*wanted.prompt, *expected(tiny, wanted))
        assert not moves and model.usage().kv_tokens_used == 0
        assert model.rest() and not model.rest()
        assert model.usage().prefix_cache_entries == 1


def test_conversations_that_take_turns_each_keep_their_slot(
    tiny: Subject, moves: Counter[str]
) -> None:
    with closing(tiny.load(**EXACT, max_parallel_predictions=3)) as model:
        said = [go_on(model, talk(number, words(number, 50)))[0] for number in range(3)]
        for number in (1, 0, 2, 1):
            wanted = talk(9, said[number] + words(number, 20))
            before = said[number]
            said[number], known = go_on(model, wanted)
            assert known == len(before) - 1
            assert said[number] == (*wanted.prompt, *expected(tiny, wanted))
        assert not moves


def test_who_has_to_leave_its_slot_is_parked_and_comes_back(
    tiny: Subject, moves: Counter[str]
) -> None:
    with closing(tiny.load(**EXACT, max_parallel_predictions=1)) as model:
        said, _ = go_on(model, talk(0, words(0, 60)))
        generate(model, talk(1, words(1, 60)))
        assert moves == {"export": 1} and model.usage().prefix_cache_bytes > 0
        wanted = talk(2, said + words(2, 20))
        again, known = go_on(model, wanted)
        assert moves == {"export": 2, "restore": 1}
        assert known == len(said) - 1
        assert again == (*wanted.prompt, *expected(tiny, wanted))


def test_the_end_of_a_conversation_is_kept_when_another_one_takes_its_beginning(
    tiny: Subject,
) -> None:
    with closing(tiny.load(**EXACT, max_parallel_predictions=1)) as model:
        system = words(0, 100)
        first, _ = go_on(model, talk(0, system + words(1, 60)))
        second = talk(1, system + words(2, 20))
        _, known = go_on(model, second)
        assert known == 100
        wanted = talk(2, first + words(3, 20))
        again, known = go_on(model, wanted)
        assert known == len(first) - 1
        assert again == (*wanted.prompt, *expected(tiny, wanted))


def test_while_idle_all_is_made_ready_for_whoever_comes_and_stays_where_it_is(
    tiny: Subject, moves: Counter[str]
) -> None:
    with closing(tiny.load(**EXACT, max_parallel_predictions=2)) as model:
        said = [go_on(model, talk(number, words(number, 60)))[0] for number in range(2)]
        assert model.rest() and model.rest() and not model.rest()
        assert moves == {"export": 2} and model.usage().prefix_cache_entries == 2
        for number in range(2):
            _, known = go_on(model, talk(5 + number, said[number] + words(2, 20)))
            assert known == len(said[number]) - 1
        assert model.rest() and model.rest() and moves == {"export": 4}
        assert model.usage().prefix_cache_entries == 2
        generate(model, talk(3, words(3, 60)))
        assert moves == {"export": 4}


def test_what_rests_in_another_slot_is_copied_from_there(tiny: Subject) -> None:
    with closing(tiny.load(**EXACT, max_parallel_predictions=4)) as model:
        system = words(0, 100)
        go_on(model, talk(0, system + words(1, 20)))
        wanted = [talk(number, system + words(number, 20)) for number in (1, 2, 3)]
        events = run_as_expected(model, tiny, *wanted)
        assert [cached(events[each.id]) for each in wanted] == [119, 100, 100]


def test_a_cancelled_prompt_serves_as_far_as_it_was_computed(tiny: Subject) -> None:
    with closing(tiny.load(**EXACT)) as model:
        model.add(talk(0, words(0, 200)))
        for _ in range(4):
            model.step()
        model.cancel(0)
        wanted = talk(1, words(0, 200))
        said, known = go_on(model, wanted)
        assert known == 64
        assert said == (*wanted.prompt, *expected(tiny, wanted))


def test_without_a_budget_nothing_rests(tiny: Subject) -> None:
    with closing(tiny.load(prefix_cache={"ram": "0B"})) as model:
        said, _ = go_on(model, talk(0, words(0, 60)))
        _, known = go_on(model, talk(1, said + words(1, 20)))
        assert known == 0 and model.usage().prefix_cache_entries == 0


def test_in_a_shared_cache_nothing_rests(tiny: Subject, moves: Counter[str]) -> None:
    with closing(tiny.load(**EXACT, unified_kv_cache=True)) as model:
        go_on(model, talk(0, words(0, 60)))
        assert moves == {"export": 1}


def test_a_gap_between_streams_is_closed_and_what_rests_there_changes_place(
    tiny: Subject, moves: Counter[str]
) -> None:
    with closing(tiny.load(**EXACT, max_parallel_predictions=4)) as model:
        short = talk(1, words(1, 60), tokens=2)
        wanted = [talk(0, words(0, 30), 80), short, talk(2, words(2, 30), 80)]
        events = run_as_expected(model, tiny, *wanted)
        assert moves == {"export": 2, "restore": 2}
        said = (*short.prompt, *tokens_of(events[1]))
        further = talk(5, said + words(5, 20))
        again, known = go_on(model, further)
        assert known == len(said) - 1
        assert again == (*further.prompt, *expected(tiny, further))


def test_a_long_stream_is_not_moved_for_a_gap_of_a_few_steps(
    tiny: Subject, moves: Counter[str]
) -> None:
    with closing(tiny.load(**EXACT, context_length=1024, max_parallel_predictions=4)) as model:
        for number, tokens in enumerate((12, 3, 12)):
            model.add(talk(number, words(number, 700), tokens))
        drain(model)
        assert not moves


@pytest.mark.parametrize("write", [write_tiny_mamba, write_tiny_gemma2])
def test_a_memory_that_cannot_be_cut_rests_and_is_copied_whole(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    subject = Subject(write(tmp_path / "variant.gguf"))
    with closing(subject.load(**EXACT, max_parallel_predictions=3)) as model:
        said, _ = go_on(model, talk(0, words(0, 60)))
        wanted = [talk(number, said[:-1] + words(number, 20)) for number in (1, 2)]
        events = run_as_expected(model, subject, *wanted)
        assert cached(events[1]) == len(said) - 1
        shorter = talk(3, said[:-5] + words(4, 20))
        again, known = go_on(model, shorter)
        assert known == 0 and again == (*shorter.prompt, *expected(subject, shorter))


@pytest.mark.parametrize("write", [write_tiny_mamba, write_tiny_gemma2])
def test_a_memory_that_cannot_be_cut_is_there_again_as_it_was_before_it_went_on(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    """As when the last answer is generated anew."""
    subject = Subject(write(tmp_path / "variant.gguf"))
    with closing(subject.load(**EXACT, max_parallel_predictions=2)) as model:
        said, _ = go_on(model, talk(0, words(0, 60)))
        for number in (1, 2, 3):
            wanted = talk(number, said[:-1] + words(number, 20))
            again, known = go_on(model, wanted)
            assert known == len(said) - 1
            assert again == (*wanted.prompt, *expected(subject, wanted))


def test_a_conversation_that_outgrows_the_budget_keeps_the_beginning_that_fitted(
    tiny: Subject,
) -> None:
    limit = {"ram": "100kB"}
    with closing(tiny.load(**EXACT, max_parallel_predictions=1, prefix_cache=limit)) as model:
        said, _ = go_on(model, talk(0, words(0, 150)))
        generate(model, talk(1, words(1, 3), 5))
        assert model.usage().prefix_cache_entries == 1
        longer, known = go_on(model, talk(2, said + words(2, 60)))
        assert known == len(said) - 1
        generate(model, talk(3, words(3, 3), 5))
        _, known = go_on(model, talk(4, longer + words(4, 20)))
        assert known == len(said) - 1


def test_a_state_that_will_not_do_is_forgotten_and_kept_again(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(tiny.load(**EXACT, max_parallel_predictions=1)) as model:
        said, _ = go_on(model, talk(0, words(0, 60)))
        generate(model, talk(1, words(1, 60)))
        with monkeypatch.context() as patched:
            patched.setattr(Memory, "restore", lambda memory, slot, state: False)
            _, known = go_on(model, talk(2, said + words(2, 20)))
        assert known == 0
        generate(model, talk(3, words(3, 60)))
        wanted = talk(4, said + words(4, 20))
        again, known = go_on(model, wanted)
        assert known == len(said)
        assert again == (*wanted.prompt, *expected(tiny, wanted))


def test_what_rests_is_in_the_files_that_outlive_the_model(tiny: Subject, tmp_path: Path) -> None:
    store = CacheStore(str(tmp_path), b"k" * 32, "a model")

    def load() -> GenerationModel:
        config = LoadConfig.model_validate({**EXACT, "prefix_cache": {"persist": True}})
        model = engine.load(
            tiny.path,
            config,
            threads=1,
            on_progress=lambda fraction: None,
            attachments=Attachments(cache_store=store),
        )
        assert isinstance(model, GenerationModel)
        return model

    with closing(load()) as model:
        said = [go_on(model, talk(number, words(number, 60)))[0] for number in range(2)]
    with closing(load()) as model:
        for number in range(2):
            wanted = talk(number, said[number] + words(5, 20))
            again, known = go_on(model, wanted)
            assert known == len(said[number]) - 1
            assert again == (*wanted.prompt, *expected(tiny, wanted))
