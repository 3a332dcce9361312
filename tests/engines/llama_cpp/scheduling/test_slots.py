"""Which slot a sequence gets. Rows of a batch go by slot, and slots in use lie side by side: with
separate caches llama.cpp computes together only what is in this order."""

from __future__ import annotations

from collections.abc import Sequence as Several
from contextlib import closing
from typing import Any, cast

import numpy as np
import pytest

from lmrun.engines.base import LoadedModel
from lmrun.engines.llama_cpp.context import Context
from lmrun.engines.llama_cpp.sampling.sampler import Sampler
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence
from lmrun.engines.llama_cpp.scheduling.slots import Rest, Slots
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
    with closing(tiny.load(max_parallel_predictions=4)) as model:
        start(model, range(4), tokens=4)
        drain(model)
        start(model, range(4, 8), tokens=6)
        drain(model)
    assert [0, 1, 2, 3] in decoded
    assert all(slots == sorted(slots) for slots in decoded)


def test_a_new_sequence_and_then_a_stream_fill_the_gaps_of_those_that_went(
    tiny: Subject, decoded: list[list[int]]
) -> None:
    with closing(tiny.load(max_parallel_predictions=4)) as model:
        start(model, range(4), tokens=40)
        model.step()
        model.cancel(2)
        model.cancel(1)
        start(model, range(4, 5), tokens=40)
        drain(model)
    assert decoded[-1] in ([0, 1, 2], [1, 2, 3])
    assert [0, 1, 3] not in decoded


def a_sequence(*tokens: int) -> Sequence:
    wanted = spec(0, max_tokens=1)
    return Sequence(
        type(wanted)(0, tokens, wanted.prediction), cast(Sampler, None), context_length=1000
    )


OTHER = a_sequence(*range(500, 600))


def make_slots(count: int, used: Several[int] = (), **rests: range) -> Slots:
    """`rests`: of which tokens something rests in a slot, the oldest first, as `s3=range(9)`."""
    slots = Slots(count)
    for name, tokens in rests.items():
        slots.take(int(name[1:]))
        slots.give_back(int(name[1:]), Rest(int(name[1:]), (), np.array(tokens, dtype=np.int32)))
    for slot in used:
        slots.take(slot)
    return slots


def choose(slots: Slots, sequence: Sequence = OTHER) -> int:
    return slots.choose(sequence, whole=False)


def test_the_first_sequence_takes_the_lowest_slot() -> None:
    assert choose(make_slots(4)) == 0


@pytest.mark.parametrize(
    ("used", "expected"), [([0, 1], 2), ([2, 3], 1), ([1], 0), ([0, 3], 1), ([0, 1, 4, 5], 2)]
)
def test_slots_in_use_are_kept_side_by_side(used: list[int], expected: int) -> None:
    assert choose(make_slots(6, used)) == expected


def test_a_conversation_goes_on_where_it_rests() -> None:
    slots = make_slots(4, s1=range(40), s2=range(80), s3=range(60))
    assert choose(slots, a_sequence(*range(100))) == 2


def test_a_few_tokens_in_common_are_no_reason_to_disturb_what_rests() -> None:
    slots = make_slots(2, s0=range(15))
    assert choose(slots, a_sequence(*range(100))) == 1


def test_an_empty_slot_comes_before_one_in_which_something_rests() -> None:
    assert choose(make_slots(3, s0=range(50), s1=range(50))) == 2


def test_what_lies_elsewhere_too_goes_first_and_then_what_has_rested_longest() -> None:
    slots = make_slots(3, s1=range(50), s0=range(50), s2=range(50))
    assert choose(slots) == 1
    slots.rests[2].is_parked = True
    assert choose(slots) == 2


def test_what_was_used_again_is_not_the_oldest_any_more() -> None:
    slots = make_slots(2, s1=range(50), s0=range(50))
    slots.touch(slots.rests[0])
    assert choose(slots) == 0


def test_a_memory_that_is_taken_whole_gives_nothing_for_a_part_of_it() -> None:
    slots = make_slots(2, s1=range(50))
    assert slots.choose(a_sequence(*range(40), 7, 8), whole=True) == 0
    assert slots.choose(a_sequence(*range(60)), whole=True) == 1


def test_a_gap_lies_between_slots_in_use() -> None:
    assert make_slots(4).gap is None
    assert make_slots(4, [1, 2]).gap is None
    assert make_slots(6, [1, 4]).gap == 2
