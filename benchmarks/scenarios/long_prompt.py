"""A long prompt arrives while others stream: how long do they stall?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.answers import Answer
from benchmarks.contenders.base import (
    ENGINE,
    LLAMA_SERVER,
    LMRUN,
    HttpContender,
    Request,
    Setup,
)
from benchmarks.contenders.engine import Engine
from benchmarks.prompts import make_short_prompt, make_text
from benchmarks.results import Bar, Figure, Values
from benchmarks.scenarios.base import Arena, Scenario, per_contender

STREAMS, PROMPT_TOKENS = 4, 3000
ANSWER_TOKENS = 700
QUIET_S, QUIET_TOKENS = 2.0, 50
CONTEXT_LENGTH = 4096
EVERYONE = (LMRUN, LLAMA_SERVER)


async def measure(arena: Arena, repeat: int) -> Values:
    values: dict[str, float] = {}
    for contender in arena.in_turn(repeat):
        streams, long = await run_over_http(contender, repeat)  # type: ignore[arg-type]
        quiet, busy = split_gaps(streams, long.sent_at, long.sent_at + long.first_s)
        values[f"{contender.name}.usual"] = 1000 * median(quiet)
        values[f"{contender.name}.p99"] = 1000 * find_percentile(busy, 0.99)
        values[f"{contender.name}.first"] = 1000 * long.first_s
    return values


async def run_over_http(contender: HttpContender, repeat: int) -> tuple[list[Answer], Answer]:
    """The streams, and the long prompt that came after two seconds of them."""
    prompts = [make_short_prompt(f"stalled {number} of {repeat}") for number in range(STREAMS)]
    requests = [Request(prompt, ANSWER_TOKENS) for prompt in prompts]
    streams = asyncio.ensure_future(contender.generate(*requests))
    await asyncio.sleep(QUIET_S)
    (long,) = await contender.generate(Request(make_text(PROMPT_TOKENS, f"long {repeat}"), 1))
    return await streams, long


def split_gaps(
    streams: Sequence[Answer], begin: float, end: float
) -> tuple[list[float], list[float]]:
    """Gaps between pieces of text that end before `begin`, and those that end up to `end`."""
    quiet, busy = [], []
    for answer in streams:
        for at, gap in zip(answer.times[1:], answer.gaps_s, strict=True):
            if answer.sent_at + at < begin:
                quiet.append(gap)
            elif answer.sent_at + at - gap < end:
                busy.append(gap)
    return quiet, busy


def find_percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


async def measure_engine(arena: Arena, repeat: int) -> Values:
    """Token by token, where no frame holds several."""
    engine: Engine = arena.get(ENGINE)
    prompts = [make_short_prompt(f"stalled {number} of {repeat}") for number in range(STREAMS)]
    times: dict[int, list[float]] = {engine.add(Request(it, ANSWER_TOKENS)): [] for it in prompts}
    await _record(engine, times, lambda: min(map(len, times.values())) >= QUIET_TOKENS)
    begin = time.perf_counter()
    long = engine.add(Request(make_text(PROMPT_TOKENS, f"long {repeat}"), 1))
    times[long] = []
    await _record(engine, times, lambda: bool(times[long]))
    end = times.pop(long)[0]
    quiet, busy = split_gaps([_as_answer(at) for at in times.values()], begin, end)
    for sequence in times:
        engine.loaded.cancel(sequence)
    engine.rest()
    return {
        "engine.usual": 1000 * median(quiet),
        "engine.p99": 1000 * find_percentile(busy, 0.99),
        "engine.longest": 1000 * max(busy),
        "engine.first": 1000 * (end - begin),
    }


async def _record(
    engine: Engine, times: dict[int, list[float]], is_done: Callable[[], bool]
) -> None:
    """Step until `is_done`, noting when each sequence's tokens came."""
    while not is_done():
        for sequence in engine.step():
            times[sequence].append(time.perf_counter())


def _as_answer(times: list[float]) -> Answer:
    return Answer(0.0, tuple(times), times[-1], "", "length", {})


LONG_PROMPT = Scenario(
    name="long_prompt",
    title=f"a {PROMPT_TOKENS}-token prompt arriving while {STREAMS} streams run",
    setup=Setup(context_length=CONTEXT_LENGTH, parallel=STREAMS + 1),
    contenders=EVERYONE,
    figures=(
        *per_contender(EVERYONE, "usual", "usual gap between chunks", "ms", prefill=False),
        *per_contender(EVERYONE, "p99", "p99 gap meanwhile", "ms"),
        *per_contender(EVERYONE, "first", "first token of the long prompt", "ms"),
    ),
    bars=(
        Bar("lmrun.p99", "lmrun.usual", at_most=3.5),
        Bar("llama_server.p99", "llama_server.usual"),
        Bar("lmrun.first", "llama_server.first"),
    ),
    measure=measure,
    most_repeats=3,
)
LONG_PROMPT_ENGINE = Scenario(
    name="long_prompt_engine",
    title="the same without worker and server, token by token",
    setup=Setup(context_length=CONTEXT_LENGTH, parallel=STREAMS + 1),
    contenders=(ENGINE,),
    figures=(
        Figure("engine.usual", "lmrun's engine alone, usual gap between tokens", "ms", False),
        Figure("engine.p99", "lmrun's engine alone, p99 gap meanwhile", "ms"),
        Figure("engine.longest", "lmrun's engine alone, longest gap meanwhile", "ms"),
        Figure("engine.first", "lmrun's engine alone, first token of the long prompt", "ms"),
    ),
    bars=(
        Bar("engine.p99", "engine.usual", at_most=3.5),
        Bar("engine.longest", "engine.usual"),
    ),
    measure=measure_engine,
    most_repeats=3,
)
