"""Sequences wait for room in the KV pool; one that could never have it is refused at once."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from lmrun.engines.base import (
    AdapterFile,
    Attachments,
    ImageSpan,
    SequenceFailed,
    SequenceFinished,
    SequenceSpec,
)
from lmrun.engines.llama_cpp.context import Context
from lmrun.engines.llama_cpp.engine import engine
from lmrun.engines.llama_cpp.sampling.sampler import Sampler
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence
from lmrun.errors import ContextOverflow
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.engines import Subject, drain, spec, tokens_of
from tests.support.tiny_lora import write_tiny_lora


def test_a_sequence_that_does_not_fit_waits_and_disturbs_nobody(tiny: Subject) -> None:
    with closing(tiny.load(context_length=128, kv_tokens=200)) as model:
        model.add(spec(1, prompt_length=60, max_tokens=60))
        model.add(spec(2, prompt_length=100, max_tokens=20))
        model.add(spec(3, prompt_length=9, max_tokens=5))
        model.step()
        assert (model.active, model.waiting) == (1, 2)
        assert model.usage().kv_tokens_used == 120
        events = drain(model)
        assert [len(tokens_of(events[number])) for number in (1, 2, 3)] == [60, 20, 5]
        assert not [e for each in events.values() for e in each if isinstance(e, SequenceFailed)]
        assert model.usage().kv_tokens_used == 0


def test_nobody_overtakes_who_waits_for_room(tiny: Subject) -> None:
    with closing(tiny.load(context_length=128, kv_tokens=128)) as model:
        model.add(spec(1, prompt_length=60, max_tokens=20))
        model.add(spec(2, prompt_length=60, max_tokens=20))
        model.add(spec(3, prompt_length=8, max_tokens=4))
        model.step()
        assert (model.active, model.waiting) == (1, 2)
        assert model.usage().kv_tokens_used == 80
        ended = [
            number
            for number, events in drain(model).items()
            if isinstance(events[-1], SequenceFinished)
        ]
        assert ended == [1, 2, 3] and model.usage().kv_tokens_used == 0


def test_who_waits_and_is_cancelled_makes_room_for_the_next(tiny: Subject) -> None:
    with closing(tiny.load(context_length=64, kv_tokens=64)) as model:
        model.add(spec(1, prompt_length=20, max_tokens=10))
        model.add(spec(2, prompt_length=50, max_tokens=10))
        model.add(spec(3, prompt_length=20, max_tokens=10))
        model.step()
        model.cancel(2)
        model.step()
        assert (model.active, model.waiting) == (2, 0)
        assert set(drain(model)) == {1, 3}


def seeing(sequence: int, cells: int) -> SequenceSpec:
    """A prompt with an image of four positions that fills `cells` KV cells, as with M-RoPE."""
    image = ImageSpan(5, 4, SimpleNamespace(tokens=cells, causal=True))
    prompt = (*range(40, 45), -1, -2, -3, -4, *range(50, 60))
    return SequenceSpec(sequence, prompt, PredictionConfig(max_tokens=4), images=(image,))


@pytest.mark.parametrize("deterministic", ["off", "strict"])
@pytest.mark.parametrize("pool", [64, None], ids=["shared", "separate"])
def test_an_image_that_the_cache_could_never_hold_is_refused_and_holds_up_nobody(
    tiny: Subject, pool: int | None, deterministic: str
) -> None:
    with closing(tiny.load(context_length=64, kv_tokens=pool)) as model:
        with pytest.raises(ContextOverflow, match=r"fills 64 cells .* answer in 64"):
            model.add(seeing(1, cells=64 - 19 + 4))
        assert (model.active, model.waiting) == (0, 0)
        model.add(spec(2, prompt_length=10, max_tokens=3, deterministic=deterministic))
        assert len(tokens_of(drain(model)[2])) == 3


def test_an_answer_behind_an_image_ends_where_its_cache_is_full() -> None:
    wanted = seeing(1, cells=64 - 15 - 3)
    for context_length, cells, limit in ((64, 64, 3), (64, 256, 4), (64, None, 3)):
        sequence = Sequence(wanted, cast(Sampler, None), context_length=context_length, cells=cells)
        assert sequence.limit == limit
        assert sequence.reserved == 15 + 46 + limit <= max(cells or 64, 64)


def test_a_decode_that_finds_no_room_ends_the_youngest_of_its_own_sequences(
    tiny: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = AdapterFile("it", str(write_tiny_lora(tmp_path / "it.gguf")))
    model = engine.load(
        tiny.path,
        LoadConfig(context_length=128, max_parallel_predictions=4),
        threads=1,
        on_progress=lambda fraction: None,
        attachments=Attachments(adapters=(adapter,)),
    )
    with closing(model):
        for number in range(4):
            adapters: dict[str, float] | None = {} if number % 2 else None
            model.add(spec(number, prompt_length=20, max_tokens=20, adapters=adapters))
        for _ in range(8):
            model.step()
        with monkeypatch.context() as patched:
            patched.setattr(Context, "decode", lambda context: None)
            refused = model.step()
        assert [event.sequence for event in refused] == [2, 3]
        assert all(isinstance(event, SequenceFailed) for event in refused)
        events = drain(model)
        assert set(events) == {0, 1} and model.usage().kv_tokens_used == 0
