"""Prompts that begin alike: cold and all at once, once more, and after a restart."""

from __future__ import annotations

from benchmarks.contenders.base import (
    LLAMA_CPP_SERVER,
    LLAMA_SERVER,
    LMRUN,
    LMRUN_UNIFIED,
    Request,
    Setup,
)
from benchmarks.prompts import make_short_prompt, make_text
from benchmarks.results import Bar, Figure, Values
from benchmarks.scenarios.base import Arena, Scenario, last_s, per_contender

STREAMS, SHARED_TOKENS, RESTORED_TOKENS = 8, 1500, 1000
ANSWER_TOKENS = 32
CONTEXT_LENGTH = 2048
EVERYONE = (LMRUN, LLAMA_SERVER, LLAMA_CPP_SERVER)
TOGETHER = (*EVERYONE, LMRUN_UNIFIED)


def make_prompts(tokens: int, seed: str, count: int) -> list[str]:
    """Prompts with `tokens` in common, eight words of its own behind them in each."""
    shared = make_text(tokens, seed)
    return [shared + make_text(8, f"{seed} {number}") for number in range(count)]


async def measure_shared(arena: Arena, repeat: int) -> Values:
    values: dict[str, float] = {}
    for contender in arena.in_turn(repeat):
        prompts = make_prompts(SHARED_TOKENS, f"shared {repeat}", STREAMS)
        answers = await contender.generate(*(Request(it, ANSWER_TOKENS) for it in prompts))
        values[f"{contender.name}.wall"] = last_s(answers)
        if contender.name == LMRUN:
            # A prefix may be taken over up to the last token of what was computed of it.
            sharing = sum(answer.cached_tokens >= SHARED_TOKENS - 1 for answer in answers)
            values["prefills"] = STREAMS - sharing
    return values


async def measure_again(arena: Arena, repeat: int) -> Values:
    values: dict[str, float] = {}
    for contender in arena.in_turn(repeat):
        first, second = make_prompts(SHARED_TOKENS, f"again {repeat}", 2)
        (cold,) = await contender.generate(Request(first, ANSWER_TOKENS))
        await contender.generate(Request(make_short_prompt(f"between {repeat}"), ANSWER_TOKENS))
        (warm,) = await contender.generate(Request(second, ANSWER_TOKENS))
        values[f"{contender.name}.cold"] = 1000 * cold.first_s
        values[f"{contender.name}.warm"] = 1000 * warm.first_s
    return values


async def measure_restored(arena: Arena, repeat: int) -> Values:
    server = arena.get(LMRUN)
    first, second = make_prompts(RESTORED_TOKENS, f"restored {repeat}", 2)
    (cold,) = await server.generate(Request(first, ANSWER_TOKENS))
    await server.stop()
    await server.start()
    # Another prompt first: a new process's first pages are no prefix's fault.
    await server.generate(Request(make_short_prompt(f"between {repeat}"), ANSWER_TOKENS))
    (restored,) = await server.generate(Request(second, ANSWER_TOKENS))
    return {
        "lmrun.cold": 1000 * cold.first_s,
        "lmrun.restored": 1000 * restored.first_s,
        "cached": restored.cached_tokens,
        "speedup": cold.first_s / restored.first_s,
    }


SHARED_PREFIX = Scenario(
    name="shared_prefix",
    title=f"{STREAMS} streams sharing a cold {SHARED_TOKENS}-token prefix",
    setup=Setup(context_length=CONTEXT_LENGTH, parallel=STREAMS),
    contenders=TOGETHER,
    figures=(
        *per_contender(TOGETHER, "wall", f"{ANSWER_TOKENS} tokens each", "s"),
        Figure("prefills", "lmrun, streams that prefilled it", ""),
    ),
    bars=(
        Bar("lmrun.wall", "llama_server.wall", at_most=0.25),
        Bar("lmrun_unified.wall", "llama_server.wall", at_most=0.25),
        Bar("lmrun.wall", "llama_cpp_server.wall"),
        Bar("prefills", at_most=1),
    ),
    measure=measure_shared,
    most_repeats=3,
)
SAME_PREFIX = Scenario(
    name="same_prefix",
    title=f"the same {SHARED_TOKENS}-token prefix again, after another prompt",
    setup=Setup(context_length=CONTEXT_LENGTH, parallel=STREAMS),
    contenders=EVERYONE,
    figures=(
        *per_contender(EVERYONE, "cold", "first token, cold", "ms"),
        *per_contender(EVERYONE, "warm", "first token, again", "ms"),
    ),
    bars=(
        Bar("lmrun.cold", "llama_server.cold"),
        Bar("lmrun.warm", "lmrun.cold", at_most=0.15),
        Bar("llama_server.warm", "llama_server.cold"),
        Bar("llama_cpp_server.warm", "llama_cpp_server.cold"),
    ),
    measure=measure_again,
)
RESTORED_PREFIX = Scenario(
    name="restored_prefix",
    title=f"a {RESTORED_TOKENS}-token prefix restored after a restart",
    setup=Setup(
        context_length=CONTEXT_LENGTH, parallel=4, load={"prefix_cache": {"persist": True}}
    ),
    contenders=(LMRUN,),
    figures=(
        Figure("lmrun.cold", "lmrun, first token, cold", "ms"),
        Figure("lmrun.restored", "lmrun, first token, restored", "ms"),
        Figure("cached", "lmrun, tokens not computed again", ""),
        Figure("speedup", "lmrun, times as fast to the first token", ""),
    ),
    bars=(Bar("cached", at_least=RESTORED_TOKENS - 1), Bar("speedup", at_least=10)),
    measure=measure_restored,
)
