"""Whatever models and tools do, and whenever a run is given up: it leaves nothing behind, and what
it says is in order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmrun.chat.events import ChatEnd, Event, MessageDelta, ToolCallFailed, ToolCallStart
from lmrun.chat.events import ToolCallArguments as Arguments
from lmrun.errors import BudgetExceeded, EngineCrashed
from lmrun.tools.act.events import (
    ActEnd,
    ActEvent,
    CallFailed,
    CallSucceeded,
    RoundEnd,
    RoundStart,
)
from lmrun.tools.act.limits import Limits
from lmrun.tools.act.steps import CallFinished, Step, Transcript
from lmrun.tools.act.telling import retell, tell_end
from lmrun.tools.tool import ToolResult
from tests.tools.act.stand_ins import (
    USAGE,
    ScriptedModel,
    StandInGate,
    StandInTool,
    make_tool,
    start,
    within,
)

NAMES = ("quick", "slow", "fails", "denied", "asked", "nobody")
call = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["{}", '{"n": 1}', '{"n": 2}', "{oops", "[]"]),
    st.sampled_from(["whole", "whole", "whole", "broken"]),
)
answer = st.tuples(
    st.lists(call, max_size=4),
    st.sampled_from(["end", "end", "end", "end", "cut", "crash"]),
)


def make_events(calls: Sequence[tuple[str, str, str]], how: str) -> list[Event]:
    events: list[Event] = [MessageDelta("so ")]
    complete = False
    for index, (name, arguments, state) in enumerate(calls):
        events.append(ToolCallStart(index, f"c{index}", name))
        if state == "broken":
            events.append(ToolCallFailed(index, f"<{name}"))
        else:
            events.append(Arguments(index, arguments))
            complete = True
    if how == "cut":
        return [*events, ChatEnd("maxPredictedTokensReached", USAGE)]
    return [*events, ChatEnd("toolCalls" if complete else "eosFound", USAGE)]


class Model(ScriptedModel):
    def __init__(self, answers: Sequence[tuple[Sequence[tuple[str, str, str]], str]]) -> None:
        def script(place: int) -> Any:
            calls, how = answers[place]

            def say(request: Any) -> Any:
                yield from make_events(calls, how)[:-1]
                if how == "crash":
                    raise EngineCrashed("died")
                yield make_events(calls, how)[-1]

            return say

        super().__init__(*(script(place) for place in range(len(answers))))


def make_tools() -> list[StandInTool]:
    async def slow(arguments: Mapping[str, Any]) -> str:
        for _ in range(20):
            await asyncio.sleep(0)
        return "slow"

    async def fail(arguments: Mapping[str, Any]) -> ToolResult:
        raise RuntimeError("no")

    return [
        make_tool("quick"),
        make_tool("slow", slow),
        make_tool("fails", fail),
        make_tool("denied", policy="deny"),
        make_tool("asked", policy="ask"),
    ]


def find_finished(steps: Sequence[Step]) -> set[tuple[int, int]]:
    return {(it.round, it.index) for it in steps if isinstance(it, CallFinished)}


class Recorder:
    """A journal in memory."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    async def write(self, step: Step) -> None:
        await asyncio.sleep(0)
        self.steps.append(step)


def check_order(events: Sequence[ActEvent], *, is_whole: bool) -> None:
    """Rounds follow each other; within one, each call that ends has begun, and ends once."""
    rounds, begun, ended = 0, set[int](), set[int]()
    is_open = False
    for event in events:
        match event:
            case RoundStart(number):
                assert number == rounds and not is_open
                rounds, is_open, begun, ended = rounds + 1, True, set(), set()
            case ToolCallStart(index):
                assert is_open and index not in begun
                begun.add(index)
            case CallSucceeded(index) | CallFailed(index):
                assert is_open and index in begun and index not in ended
                ended.add(index)
            case RoundEnd(number):
                assert is_open and number == rounds - 1 and begun == ended
                is_open = False
            case ActEnd():
                assert not is_open and event is events[-1]
    if is_whole:
        assert isinstance(events[-1], ActEnd) and events[-1].rounds == rounds


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    answers=st.lists(answer, min_size=1, max_size=5),
    limits=st.builds(
        Limits,
        max_rounds=st.integers(1, 6),
        parallel_calls=st.integers(1, 3),
        calls=st.sampled_from([2, 50]),
        tokens=st.sampled_from([None, 12]),
    ),
    given_up_after=st.none() | st.integers(0, 40),
)
def test_whatever_happens_events_are_in_order_and_nothing_is_left(
    answers: list[Any], limits: Limits, given_up_after: int | None
) -> None:
    async def body() -> None:
        model, tools, gate = Model(answers), make_tools(), StandInGate()
        journal = Recorder()
        events: list[ActEvent] = []
        is_whole = False
        run = start(model, *tools, limits=limits, gate=gate, journal=journal)
        try:
            async for event in run:
                events.append(event)
                if len(events) == given_up_after:
                    break
            else:
                is_whole = True
        except (EngineCrashed, BudgetExceeded):
            pass
        await run.aclose()
        assert model.open == 0
        assert all(tool.open == 0 for tool in tools)
        check_order(events, is_whole=is_whole)
        if is_whole:
            transcript = Transcript((), journal.steps)
            check_order([*retell(transcript, limits.max_rounds), events[-1]], is_whole=True)
            assert tell_end(transcript) == events[-1]

    within(body)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answers=st.lists(answer, min_size=1, max_size=5), ticks=st.integers(0, 120))
def test_a_reader_cancelled_at_any_moment_leaves_nothing(answers: list[Any], ticks: int) -> None:
    async def body() -> None:
        model, tools = Model(answers), make_tools()

        async def read() -> None:
            with suppress(EngineCrashed, BudgetExceeded):
                async for _ in start(model, *tools, journal=Recorder()):
                    pass

        reading = asyncio.create_task(read())
        for _ in range(ticks):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
        await asyncio.sleep(0)
        assert model.open == 0
        assert all(tool.open == 0 for tool in tools)

    within(body)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answers=st.lists(answer, min_size=1, max_size=5), place=st.integers(0, 60))
def test_a_run_goes_on_after_any_step_and_makes_no_finished_call_again(
    answers: list[Any], place: int
) -> None:
    """As after a restart, with the steps that had been written by then."""

    async def run_with(steps: Sequence[Step], model: Model, tools: list[StandInTool]) -> Any:
        journal = Recorder()
        events: list[ActEvent] = []
        with suppress(EngineCrashed, BudgetExceeded):
            async for event in start(model, *tools, journal=journal, begun=steps):
                events.append(event)
        return events, journal.steps

    async def body() -> None:
        plain = [(calls, "cut" if how == "crash" else how) for calls, how in answers]
        whole, steps = await run_with([], Model(plain), make_tools())
        kept = steps[: place % (len(steps) + 1)]
        before = Transcript((), kept)
        rest = plain[len(before.rounds) :] or plain[-1:]
        tools = make_tools()
        again, more = await run_with(kept, Model(rest), tools)
        for step in more:
            before.take(step)
        if not any(isinstance(event, ActEnd) for event in whole):
            return
        told = [*retell(Transcript((), kept), 25), *again]
        for made in before.rounds:
            assert made.is_complete
        assert told[-1] == whole[-1]
        assert not find_finished(kept) & find_finished(more)

    within(body)
