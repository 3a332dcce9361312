"""The engine alone, beside a bare loop: its scheduler's overhead, its batching."""

from __future__ import annotations

import time
from statistics import median

from benchmarks.contenders.base import BARE, ENGINE, Request, Setup
from benchmarks.contenders.engine import Engine, watch_native
from benchmarks.prompts import make_short_prompt
from benchmarks.results import Bar, Figure, Values
from benchmarks.scenarios.base import Arena, Scenario, decode_rate, last_s, merge, per_contender

TOKENS, STREAMS = 64, 8
CONTEXT_LENGTH = 1024
DEFAULTS = {"temperature": 0.8, "repeat_penalty": 1.1, "seed": 1, "logit_bias": {}}
"""lmrun's default sampling, out of a fixed seed."""
BOTH = (BARE, ENGINE)


async def measure_alone(arena: Arena, repeat: int) -> Values:
    values: dict[str, float] = {}
    for contender in arena.in_turn(repeat):
        (answer,) = await contender.generate(Request(make_short_prompt(f"one {repeat}"), TOKENS))
        values[f"{contender.name}.decode"] = decode_rate(answer)
        prompts = [make_short_prompt(f"{number} of {repeat}") for number in range(STREAMS)]
        answers = await contender.generate(*(Request(it, TOKENS) for it in prompts))
        values[f"{contender.name}.wall"] = STREAMS * TOKENS / last_s(answers)
    engine: Engine = arena.get(ENGINE)
    sampled = Request(make_short_prompt(f"sampled {repeat}"), TOKENS, fields=DEFAULTS)
    (answer,) = await engine.generate(sampled)
    return merge(values, {"engine.sampled": decode_rate(answer)})


async def measure_overhead(arena: Arena, repeat: int) -> Values:
    engine: Engine = arena.get(ENGINE)
    return {
        f"engine.{streams}": 1e6 * time_outside(engine, streams, repeat) for streams in (1, STREAMS)
    }


def time_outside(engine: Engine, streams: int, repeat: int) -> float:
    """Seconds per token that a step takes outside llama.cpp: the median of all steps."""
    prompts = [make_short_prompt(f"{number} of {repeat}") for number in range(streams)]
    for prompt in prompts:
        engine.add(Request(prompt, TOKENS, fields=DEFAULTS))
    seconds = []
    with watch_native() as inside:
        while engine.loaded.active or engine.loaded.waiting:
            before, began = inside.seconds, time.perf_counter()
            produced = engine.step()
            elapsed = time.perf_counter() - began
            if produced:
                seconds.append((elapsed - (inside.seconds - before)) / len(produced))
    return median(seconds)


ENGINE_ALONE = Scenario(
    name="engine",
    title=f"lmrun's engine without worker and server, 1 and {STREAMS} streams of {TOKENS} tokens",
    setup=Setup(CONTEXT_LENGTH, parallel=STREAMS),
    contenders=BOTH,
    figures=(
        *per_contender(BOTH, "decode", "1 stream", "tok/s", prefill=False),
        Figure("engine.sampled", "lmrun's engine alone, 1 stream, sampling", "tok/s", False),
        *per_contender(BOTH, "wall", f"{STREAMS} streams", "tok/s"),
    ),
    bars=(
        Bar("engine.decode", "bare.decode", at_least=0.97),
        Bar("engine.sampled", "bare.decode"),
        Bar("engine.wall", "bare.wall"),
    ),
    measure=measure_alone,
)
OVERHEAD = Scenario(
    name="overhead",
    title="time per token outside llama_decode and the sampler chain, default sampling",
    setup=Setup(CONTEXT_LENGTH, parallel=STREAMS),
    contenders=(ENGINE,),
    figures=(
        Figure("engine.1", "lmrun's engine alone, 1 stream", "µs", False),
        Figure(f"engine.{STREAMS}", f"lmrun's engine alone, {STREAMS} streams", "µs", False),
    ),
    bars=(Bar("engine.1", at_most=150), Bar(f"engine.{STREAMS}", at_most=150)),
    measure=measure_overhead,
)
