"""Several choices of one request: interleaved, repeatable, and ended together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from lmrun.api.openai.choices import generate_choices, vary
from lmrun.chat.events import ChatEnd, Event, MessageDelta, Usage
from lmrun.chat.messages import RawPrompt
from lmrun.chat.request import Prompt
from lmrun.errors import ContextOverflow, EngineError, LmrunError
from lmrun.runtime.instance import Instance
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.stand_in_pool import make_instance

END = ChatEnd("eosFound", Usage(1, 2))


@dataclass
class StandInLease:
    """Each generation says "a", waits for its turn, says "b". `failing`: the one that cannot."""

    failing: int | None = None
    failure: LmrunError = field(default_factory=lambda: EngineError("It cannot go on."))
    instance: Instance = field(default_factory=make_instance)
    turns: list[asyncio.Event] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    predictions: list[PredictionConfig] = field(default_factory=list)
    open: int = 0

    async def generate(
        self, prompt: Prompt, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        number = len(self.turns)
        self.turns.append(asyncio.Event())
        self.prompts.append(prompt)
        self.predictions.append(prediction)
        self.open += 1
        try:
            yield MessageDelta("a")
            await self.turns[number].wait()
            if number == self.failing:
                raise self.failure
            yield MessageDelta("b")
            yield END
        finally:
            await asyncio.sleep(0)
            self.open -= 1


def run(lease: StandInLease, count: int) -> AsyncGenerator[tuple[int, Event], None]:
    return generate_choices(lease, [RawPrompt("hi")], PredictionConfig(seed=5), count)


def test_events_come_as_they_happen_with_their_choice() -> None:
    async def body() -> None:
        lease = StandInLease()
        async with aclosing(run(lease, 3)) as events:
            begun = [await anext(events) for _ in range(3)]
            assert begun == [(index, MessageDelta("a")) for index in range(3)]
            for index in (2, 0, 1):
                lease.turns[index].set()
                assert await anext(events) == (index, MessageDelta("b"))
                assert await anext(events) == (index, END)
            assert await anext(events, None) is None
        assert lease.open == 0

    asyncio.run(body())


def test_one_choice_is_one_generation_as_it_stands() -> None:
    async def body() -> None:
        lease = StandInLease()
        async with aclosing(run(lease, 1)) as events:
            assert await anext(events) == (0, MessageDelta("a"))
            lease.turns[0].set()
            assert [event async for event in events] == [(0, MessageDelta("b")), (0, END)]
        assert lease.predictions == [PredictionConfig(seed=5)]

    asyncio.run(body())


@pytest.mark.parametrize("count", [1, 3])
def test_closing_ends_every_generation(count: int) -> None:
    async def body() -> None:
        lease = StandInLease()
        events = run(lease, count)
        for _ in range(count):
            await anext(events)
        assert lease.open == count
        await events.aclose()
        assert lease.open == 0

    asyncio.run(body())


def test_a_failure_of_one_ends_them_all() -> None:
    async def body() -> None:
        lease = StandInLease(failing=1)
        async with aclosing(run(lease, 3)) as events:
            for _ in range(3):
                await anext(events)
            lease.turns[1].set()
            with pytest.raises(EngineError, match="cannot go on"):
                await anext(events)
        assert lease.open == 0

    asyncio.run(body())


PROMPTS = (RawPrompt("one"), RawPrompt("two"))


def test_every_prompt_has_its_choices_with_the_seeds_it_would_have_alone() -> None:
    async def body() -> None:
        lease = StandInLease()
        every = generate_choices(lease, PROMPTS, PredictionConfig(seed=5), 2)
        async with aclosing(every) as events:
            begun = [await anext(events) for _ in range(4)]
        assert [index for index, _ in begun] == [0, 1, 2, 3]
        assert lease.prompts == [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]]
        assert [each.seed for each in lease.predictions] == [5, 6, 5, 6]
        assert lease.open == 0

    asyncio.run(body())


def test_a_failure_says_which_prompt_it_is_about() -> None:
    async def body() -> None:
        lease = StandInLease(failing=3, failure=ContextOverflow("Too long.", param="prompt"))
        every = generate_choices(lease, PROMPTS, PredictionConfig(), 2)
        async with aclosing(every) as events:
            for _ in range(4):
                await anext(events)
            lease.turns[3].set()
            with pytest.raises(ContextOverflow) as refused:
                await anext(events)
        assert refused.value.param == "prompt[1]"
        assert lease.open == 0

    asyncio.run(body())


SPEC = make_instance().spec


@pytest.mark.parametrize(
    ("request_seed", "preset_seed", "load_seed", "expected"),
    [
        (5, 7, 9, [5, 6, 7]),
        (None, 7, 9, [7, 8, 9]),
        (None, None, 9, [9, 10, 11]),
        (0, 7, None, [0, 1, 2]),
        (2**32 - 2, None, None, [2**32 - 2, 2**32 - 1, 0]),
        (None, None, None, [None, None, None]),
    ],
)
def test_each_choice_has_a_seed_of_its_own(
    request_seed: int | None,
    preset_seed: int | None,
    load_seed: int | None,
    expected: list[int | None],
) -> None:
    spec = replace(
        SPEC, prediction=PredictionConfig(seed=preset_seed), load=LoadConfig(seed=load_seed)
    )
    prediction = PredictionConfig(top_k=3, seed=request_seed)
    varied = vary(prediction, spec, 3)
    assert [each.seed for each in varied] == expected
    assert all(each.top_k == 3 for each in varied)
    assert vary(prediction, spec, 1) == (prediction,)
