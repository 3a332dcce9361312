"""Rows of a batch go by slot, and slots from the lowest on: with separate caches llama.cpp computes
together only what is in this order."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from lmrun.engines.base import LoadedModel
from lmrun.engines.llama_cpp.context import Context
from tests.support.engines import Subject, drain, spec


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The slot of each row, of each decode."""
    decodes: list[list[int]] = []
    decode = Context.decode

    def watch(context: Context) -> float | None:
        batch: Any = context.batch
        decodes.append(batch._slots[: batch.size].tolist())
        return decode(context)

    monkeypatch.setattr(Context, "decode", watch)
    return decodes


def start(model: LoadedModel, numbers: range, *, tokens: int) -> None:
    for number in numbers:
        model.add(spec(number, prompt_length=9 + number, max_tokens=tokens))


def test_streams_are_decoded_in_the_order_of_their_slots_whoever_ended_before(
    tiny: Subject, decoded: list[list[int]]
) -> None:
    with closing(tiny.load(max_parallel_predictions=4, unified_kv_cache=False)) as model:
        start(model, range(4), tokens=4)
        drain(model)
        start(model, range(4, 8), tokens=6)
        drain(model)
    assert [0, 1, 2, 3] in decoded
    assert all(slots == sorted(slots) for slots in decoded)


def test_a_new_sequence_takes_the_lowest_slot_that_is_free(
    tiny: Subject, decoded: list[list[int]]
) -> None:
    with closing(tiny.load(max_parallel_predictions=4, unified_kv_cache=False)) as model:
        start(model, range(4), tokens=40)
        model.step()
        model.cancel(2)
        model.cancel(1)
        model.step()
        start(model, range(4, 5), tokens=40)
        drain(model)
    assert decoded[-1] == [0, 1, 3]
