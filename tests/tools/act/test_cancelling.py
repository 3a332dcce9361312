"""A run that is given up: model and tools hear of it at once, and are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from lmrun.chat.events import Event, MessageDelta
from lmrun.chat.request import Request
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.events import RoundStart
from lmrun.tools.policy.gate import Question, Reply
from tests.tools.act.stand_ins import (
    ScriptedModel,
    StandInGate,
    calls,
    make_tool,
    says,
    start,
    within,
)


class SlowToStop:
    """Waits for ever; when it is cancelled it takes a while to tidy up."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.has_stopped = False

    async def wait(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):
                await asyncio.sleep(0)
            self.has_stopped = True

    async def work(self, arguments: Mapping[str, Any]) -> str:
        await self.wait()
        return "never"

    async def generate(
        self, request: Request, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        yield MessageDelta("I ")
        await self.wait()


async def read_until_begun(events: AsyncGenerator[Any, None], slow: SlowToStop) -> None:
    """Read, in a task that is cancelled as soon as the slow one is at work."""

    async def read() -> None:
        async for _ in events:
            pass

    reading = asyncio.create_task(read())
    await slow.begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


def test_cancelling_the_reader_stops_a_tool_and_waits_for_it() -> None:
    async def body() -> None:
        slow, other, gate = SlowToStop(), SlowToStop(), StandInGate()
        tools = make_tool("a", slow.work), make_tool("b", other.work)
        events = start(ScriptedModel(calls(("a", "{}"), ("b", "{}"))), *tools, gate=gate)
        await read_until_begun(events, slow)
        assert slow.has_stopped and other.has_stopped
        assert [tool.open for tool in tools] == [0, 0]
        assert sorted(gate.noted) == [("a", True, None), ("b", True, None)]

    within(body)


def test_cancelling_the_reader_stops_the_model_and_waits_for_it() -> None:
    async def body() -> None:
        slow = SlowToStop()
        await read_until_begun(start(slow.generate), slow)
        assert slow.has_stopped

    within(body)


def test_closing_the_events_stops_everything() -> None:
    async def body() -> None:
        slow = SlowToStop()
        events = start(ScriptedModel(calls(("a", "{}"))), make_tool("a", slow.work))
        while not slow.begun.is_set():
            first = asyncio.ensure_future(anext(events))
            await asyncio.wait({first}, timeout=0.05)
            if not first.done():
                break
        await slow.begun.wait()
        first.cancel()
        await asyncio.wait({first})
        await events.aclose()
        assert slow.has_stopped

    within(body)


def test_a_second_cancellation_leaves_nothing_half_stopped() -> None:
    async def body() -> None:
        slow = SlowToStop()
        events = start(ScriptedModel(calls(("a", "{}"))), make_tool("a", slow.work))

        async def read() -> None:
            async for _ in events:
                pass

        reading = asyncio.create_task(read())
        await slow.begun.wait()
        reading.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not slow.has_stopped
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert slow.has_stopped

    within(body)


def test_giving_up_a_run_withdraws_its_question() -> None:
    async def body() -> None:
        asked, withdrawn = asyncio.Event(), asyncio.Event()

        async def ask(question: Question) -> Reply:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                withdrawn.set()
            return "once"

        tool = make_tool("a", policy="ask")
        events = start(ScriptedModel(calls(("a", "{}"))), tool, ask=ask)

        async def read() -> None:
            async for _ in events:
                pass

        reading = asyncio.create_task(read())
        await asked.wait()
        reading.cancel()
        await asyncio.wait({reading})
        assert withdrawn.is_set()
        assert tool.made == []

    within(body)


def test_a_run_that_nobody_reads_is_never_begun() -> None:
    async def body() -> None:
        model = ScriptedModel(says("Hi"))
        events = start(model)
        await asyncio.sleep(0)
        assert model.asked == []
        await events.aclose()
        again = start(model)
        assert await anext(again) == RoundStart(0, False)
        await again.aclose()
        assert model.open == 0

    within(body)
