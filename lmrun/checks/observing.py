"""Asking what a check wants to know: once, again, beside others. It judges nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from lmrun.checks.questions import make_load_question, to_question
from lmrun.checks.values import (
    Ask,
    CheckEvent,
    CheckObserved,
    ChecksEnded,
    CheckStarted,
    Observation,
    Question,
    Reply,
)
from lmrun.errors import LmrunError, QueueFull
from lmrun.settings.check import Check

_RETRY_S = 0.02

T = TypeVar("T")


async def observe_all(checks: Mapping[str, Check], ask: Ask) -> AsyncGenerator[CheckEvent, None]:
    """Every check in its order, one after another: times are measured. Closing it stops asking."""
    for name, check in checks.items():
        yield CheckStarted(name)
        yield CheckObserved(name, await observe(check, ask))
    yield ChecksEnded()


async def observe(check: Check, ask: Ask) -> Observation:
    """All that one check asks; what goes wrong on the way is in it."""
    question = to_question(check)
    started = time.monotonic()
    expect = check.expect
    again = beside = None
    try:
        reply = await _in_time(check, ask(question))
        if expect.same_twice:
            again = await _in_time(check, ask(question))
        if expect.same_under_load:
            beside = await _in_time(check, _ask_beside(question, expect.same_under_load, ask))
    except LmrunError as error:
        return Observation(time.monotonic() - started, error=str(error))
    return Observation(time.monotonic() - started, reply, again, beside)


async def _in_time(check: Check, asking: Coroutine[Any, Any, Reply]) -> Reply:
    try:
        async with asyncio.timeout(check.timeout):
            return await asking
    except TimeoutError:
        raise LmrunError(f"No whole answer came within {check.timeout:g} s.") from None


async def _ask_beside(question: Question, others: int, ask: Ask) -> Reply:
    """The reply while `others` further requests keep the model busy, from before it begins; fewer,
    where its queue does not hold so many."""
    is_busy = asyncio.Event()
    loads = [
        asyncio.create_task(_keep_busy(question.model, number, others, ask, is_busy.set))
        for number in range(1, others + 1)
    ]
    try:
        await _unless_one_fails(is_busy.wait(), loads)
        return await _unless_one_fails(_ask_in_place_of(loads, question, ask), loads)
    finally:
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)


async def _ask_in_place_of(
    loads: Sequence[asyncio.Task[None]], question: Question, ask: Ask
) -> Reply:
    """The reply; while the queue is full, one load after another leaves for it."""
    leaving = iter(loads)
    while True:
        try:
            return await ask(question)
        except QueueFull:
            load = next(leaving, None)
            if load is None:
                raise
            load.cancel()
            await asyncio.sleep(_RETRY_S)


async def _keep_busy(
    model: str, number: int, step: int, ask: Ask, on_first: Callable[[], None]
) -> None:
    """Ask one thing after another, each of them once, until cancelled."""
    while True:
        try:
            await ask(make_load_question(model, number), on_first)
            # An answer without a single token has no beginning.
            on_first()
            number += step
        except QueueFull:
            # Others use the model, too: it is busy enough.
            on_first()
            await asyncio.sleep(_RETRY_S)


async def _unless_one_fails(
    wanted: Coroutine[Any, Any, T], loads: Sequence[asyncio.Task[None]]
) -> T:
    """What `wanted` gives. Raises what a load raises before that."""
    task = asyncio.ensure_future(wanted)
    staying: set[asyncio.Future[Any]] = set(loads)
    try:
        while not task.done():
            done, _ = await asyncio.wait({task, *staying}, return_when=asyncio.FIRST_COMPLETED)
            for load in done & staying:
                if not load.cancelled():
                    load.result()
            staying -= done
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
