"""Speculation out of the context: on a text to repeat, on free prose, and beside its limit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.contenders.bare import BareLoop
from benchmarks.contenders.base import BARE, ENGINE, LMRUN, Request, Setup
from benchmarks.contenders.engine import Engine, watch_native
from benchmarks.prompts import make_short_prompt, make_text
from benchmarks.results import Bar, Figure, Values
from benchmarks.scenarios.base import Arena, Scenario, decode_rate

TOKENS = 128
CONTEXT_LENGTH = 1024
LOOKUP = {"prompt_lookup": True}
CURVE_TIMES = 3

_TEXT = (
    "Peter lives in a small white house near the old harbour of the town. Every morning he walks "
    "along the water to the market, where he buys bread, apples and fresh fish for his family. "
    "His sister works at the school and comes to visit him on Sundays, when they cook together "
    "and talk about the years when they were young. In the evening he reads the newspaper by the "
    "window and listens to the ships that leave for the islands."
)


def make_copy_prompt(seed: str) -> str:
    """Repeat this text with one change."""
    return (
        f"{make_text(6, seed)}.\n\nThe original text:\n{_TEXT}\n\n"
        f"The same text once more, with Thomas instead of Peter:\nThomas"
    )


async def measure_served(arena: Arena, repeat: int) -> Values:
    server = arena.get(LMRUN)
    values: dict[str, float] = {}
    kinds: Mapping[str, Mapping[str, Any]] = {"plain": {}, "lookup": LOOKUP}
    for kind in ("plain", "lookup") if repeat % 2 else ("lookup", "plain"):
        copy = Request(make_copy_prompt(f"{kind} {repeat}"), TOKENS, fields=kinds[kind])
        (answer,) = await server.generate(copy)
        values[f"copy.{kind}"] = decode_rate(answer)
        prose = Request(make_short_prompt(f"{kind} {repeat}"), TOKENS, fields=kinds[kind])
        (answer,) = await server.generate(prose)
        values[f"prose.{kind}"] = decode_rate(answer)
    return values


async def measure_limit(arena: Arena, repeat: int) -> Values:
    """The batches that the engine decoded, and what they cost a bare loop at the same depth."""
    engine: Engine = arena.get(ENGINE)
    bare: BareLoop = arena.get(BARE)
    prompt = make_copy_prompt(f"limit {repeat}")
    engine.add(Request(prompt, TOKENS, fields=LOOKUP))
    while not engine.step():
        pass
    with watch_native() as inside:
        began, produced = time.perf_counter(), 0
        while engine.loaded.active:
            produced += len(engine.step())
        elapsed = time.perf_counter() - began
    sizes = sorted({*inside.batches})
    depth = len(bare.tokenize(prompt)) + TOKENS // 2
    costs = [median(times) for times in bare.time_batches(sizes, depth, CURVE_TIMES)]
    cost = dict(zip(sizes, costs, strict=True))
    allowed = sum(cost[size] for size in inside.batches)
    return {
        "engine.lookup": produced / elapsed,
        "allowed": produced / allowed,
        "per_decode": produced / len(inside.batches),
    }


PROMPT_LOOKUP = Scenario(
    name="prompt_lookup",
    title=f"prompt lookup, {TOKENS} tokens: a text repeated with one change, and free prose",
    setup=Setup(CONTEXT_LENGTH, parallel=1),
    contenders=(LMRUN,),
    figures=(
        Figure("copy.plain", "lmrun, repeating, plain", "tok/s", False),
        Figure("copy.lookup", "lmrun, repeating, prompt lookup", "tok/s", False),
        Figure("prose.plain", "lmrun, prose, plain", "tok/s", False),
        Figure("prose.lookup", "lmrun, prose, prompt lookup", "tok/s", False),
    ),
    bars=(
        Bar("copy.lookup", "copy.plain", at_least=1.2),
        Bar("prose.lookup", "prose.plain", at_least=0.97),
    ),
    measure=measure_served,
)
LOOKUP_LIMIT = Scenario(
    name="lookup_limit",
    title="prompt lookup beside what a bare loop needs for the same batches",
    setup=Setup(CONTEXT_LENGTH, parallel=1),
    contenders=(BARE, ENGINE),
    figures=(
        Figure("engine.lookup", "lmrun's engine alone, repeating", "tok/s", False),
        Figure("allowed", "the same batches, bare", "tok/s", False),
        Figure("per_decode", "tokens per decode", "", False),
    ),
    bars=(Bar("engine.lookup", "allowed", at_least=0.9),),
    measure=measure_limit,
)
