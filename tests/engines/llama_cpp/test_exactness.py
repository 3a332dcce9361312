"""What llama.cpp computes is what the engine says: bit for bit where that can be promised."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as native

from lmrun.engines.base import (
    PromptProcessed,
    SequenceFinished,
    TokenProduced,
)
from lmrun.engines.llama_cpp.loading.native import load_native
from lmrun.engines.llama_cpp.model import GenerationModel
from lmrun.engines.llama_cpp.scheduling.slices import FIRST_SLICE
from lmrun.settings.load import LoadConfig
from tests.engines.llama_cpp.bare import bare_model, decode_greedily
from tests.support.engines import Subject, drain, generate, spec, tokens_of
from tests.support.tiny_variants import write_tiny_gemma2, write_tiny_mamba

GREEDY: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1.0}


@pytest.mark.parametrize("prompt_length", [1, 2, 60])
def test_greedy_is_the_bare_loop_token_by_token(tiny: Subject, prompt_length: int) -> None:
    wanted = spec(1, prompt_length=prompt_length, max_tokens=100, **GREEDY)
    with bare_model(tiny, eval_batch_size=512) as bare:
        expected = decode_greedily(bare, wanted.prompt, 100)
    with closing(tiny.load(flash_attention=False, eval_batch_size=512)) as model:
        assert generate(model, wanted) == expected
    assert len(set(expected)) > 5


@pytest.mark.parametrize("prompt_length", [200, 203, 49])
def test_how_a_prompt_is_sliced_does_not_change_the_answer(
    tiny: Subject, prompt_length: int
) -> None:
    wanted = spec(1, prompt_length=prompt_length, max_tokens=60, **GREEDY)
    answers = []
    for slice_tokens in (512, 128, 64, 16):
        with closing(tiny.load(flash_attention=False, eval_batch_size=slice_tokens)) as model:
            answers.append(generate(model, wanted))
    assert answers == [answers[0]] * len(answers)


def test_the_same_request_alone_repeats_with_flash_attention_too(tiny: Subject) -> None:
    wanted = spec(1, prompt_length=90, seed=5, max_tokens=60)
    with closing(tiny.load(eval_batch_size=64)) as model:
        first = generate(model, wanted)
        for sequence in range(2, 6):
            model.add(spec(sequence, prompt_length=11 * sequence, max_tokens=sequence))
        drain(model)
        assert generate(model, wanted) == first


@pytest.mark.parametrize("seed", [0, 1, 42, 2**31, 2**32 - 1])
def test_every_seed_repeats(tiny: Subject, seed: int) -> None:
    with closing(tiny.load(flash_attention=False)) as model:
        wanted = spec(1, seed=seed, temperature=1.0, top_k=0, max_tokens=30)
        assert generate(model, wanted) == generate(model, wanted)


def test_different_seeds_and_no_seed_give_different_answers(tiny: Subject) -> None:
    with closing(tiny.load(flash_attention=False)) as model:
        answers = [
            tuple(generate(model, spec(1, seed=seed, temperature=1.5, top_k=0, max_tokens=30)))
            for seed in (0, 1, 42, 2**32 - 1, None, None)
        ]
    assert len(set(answers)) == len(answers)


def test_cells_of_a_shared_cache_are_returned_when_all_have_ended(tiny: Subject) -> None:
    config = LoadConfig(eval_batch_size=16, unified_kv_cache=True)
    native_model = load_native(tiny.path, config, 1, lambda _: None)
    with closing(GenerationModel(native_model, config, 1)) as model:
        for sequence in range(10):
            model.add(spec(sequence, prompt_length=3 + 10 * sequence, max_tokens=sequence))
        for _ in range(6):
            model.step()
        model.cancel(9)
        drain(model)
        slots = range(native_model.shape.sequences)
        held = [native.llama_memory_seq_pos_max(native_model.memory, slot) for slot in slots]
        assert held == [-1] * native_model.shape.sequences


def test_a_short_prompt_does_not_wait_for_a_long_one(tiny: Subject) -> None:
    with closing(tiny.load(eval_batch_size=16)) as model:
        model.add(spec(1, prompt_length=600, max_tokens=1))
        model.add(spec(2, prompt_length=20, max_tokens=1))
        ended: list[int] = []
        for _ in range(8):
            ended += [e.sequence for e in model.step() if isinstance(e, SequenceFinished)]
        assert ended == [2]
        assert isinstance(drain(model)[1][-1], SequenceFinished)


def test_a_stream_keeps_flowing_while_a_long_prompt_is_prefilled_in_slices(tiny: Subject) -> None:
    with closing(tiny.load(eval_batch_size=512)) as model:
        model.add(spec(1))
        for _ in range(20):
            model.step()
        model.add(spec(2, prompt_length=500, max_tokens=1))
        taken: list[int] = []
        while sum(taken) < 500:
            events = model.step()
            assert len([e for e in events if isinstance(e, TokenProduced) and e.sequence == 1]) == 1
            done = [e.processed for e in events if isinstance(e, PromptProcessed)]
            taken.append(done[-1] - sum(taken))
        assert taken[0] <= 2 * FIRST_SLICE
        assert all(after <= 2 * max(taken[:n]) for n, after in enumerate(taken[1:], start=1))


@pytest.mark.parametrize("write", [write_tiny_mamba, write_tiny_gemma2])
def test_recurrent_and_sliding_window_models_say_the_same_in_any_batch(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    subject = Subject(write(tmp_path / "variant.gguf"))
    sequences = [spec(n, prompt_length=45 * n, max_tokens=25, **GREEDY) for n in (1, 2, 3)]
    answers = []
    for slice_tokens in (512, 16):
        with closing(subject.load(flash_attention=False, eval_batch_size=slice_tokens)) as model:
            answers.append([generate(model, wanted) for wanted in sequences])
            for wanted in [*sequences, spec(9, prompt_length=60, max_tokens=3)]:
                model.add(wanted)
            together = drain(model)
            answers.append([tokens_of(together[wanted.id]) for wanted in sequences])
    assert answers[2] == answers[0]
    assert [[tokens[0] for tokens in answer] for answer in answers] == [
        [tokens[0] for tokens in answers[0]]
    ] * 4
    assert [len(tokens) for answer in answers for tokens in answer] == [25] * 12
