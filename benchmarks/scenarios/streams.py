"""Plain generation: one stream, 8 and 16 of them, each with a short prompt of its own, all at once
or as they come and go."""

from __future__ import annotations

import asyncio
import time
from random import Random
from statistics import median

from benchmarks.answers import Answer
from benchmarks.contenders.base import (
    BARE,
    LLAMA_CPP_SERVER,
    LLAMA_SERVER,
    LLAMA_SERVER_UNIFIED,
    LMRUN,
    LMRUN_UNIFIED,
    Contender,
    Request,
    Setup,
)
from benchmarks.prompts import make_short_prompt
from benchmarks.results import Bar, Values
from benchmarks.scenarios.base import Arena, Measure, Scenario, decode_rate, last_s, per_contender

TOKENS = 64
CONTEXT_LENGTH = 1024
SINGLES = 5
"""Answers of each contender in a repeat: one takes half a second, and the machine changes its speed
by more than what is to be seen."""
COMING = 6
"""Clients of eight slots that send one request after another."""
ROUNDS = 4
EVERYONE = (BARE, LMRUN, LLAMA_SERVER, LLAMA_CPP_SERVER)
TOGETHER = (*EVERYONE, LMRUN_UNIFIED, LLAMA_SERVER_UNIFIED)
SERVERS = (LMRUN, LMRUN_UNIFIED, LLAMA_SERVER, LLAMA_SERVER_UNIFIED)


async def measure_single(arena: Arena, repeat: int) -> Values:
    answers: dict[str, list[Answer]] = {}
    for turn in range(SINGLES):
        for contender in arena.in_turn(turn):
            request = Request(make_short_prompt(f"single {repeat}, {turn}"), TOKENS)
            answers.setdefault(contender.name, []).extend(await contender.generate(request))
    values: dict[str, float] = {}
    for name, given in answers.items():
        values[f"{name}.decode"] = median(decode_rate(answer) for answer in given)
        values[f"{name}.wall"] = median(TOKENS / answer.times[-1] for answer in given)
    return values


def measure_together(streams: int) -> Measure:
    async def measure(arena: Arena, repeat: int) -> Values:
        values: dict[str, float] = {}
        for contender in arena.in_turn(repeat):
            prompts = [make_short_prompt(f"{number} of {repeat}") for number in range(streams)]
            answers = await contender.generate(*(Request(prompt, TOKENS) for prompt in prompts))
            values[f"{contender.name}.wall"] = streams * TOKENS / last_s(answers)
        return values

    return measure


async def measure_coming(arena: Arena, repeat: int) -> Values:
    values: dict[str, float] = {}
    for contender in arena.in_turn(repeat):
        random = Random(repeat)
        clients = [
            [
                Request(make_short_prompt(f"{number} of {repeat}, {turn}"), random.randint(16, 96))
                for turn in range(ROUNDS)
            ]
            for number in range(COMING)
        ]
        begun = time.perf_counter()
        await asyncio.gather(*(_send_in_turn(contender, requests) for requests in clients))
        taken_s = time.perf_counter() - begun
        tokens = sum(request.tokens for requests in clients for request in requests)
        values[f"{contender.name}.wall"] = tokens / taken_s
    return values


async def _send_in_turn(contender: Contender, requests: list[Request]) -> None:
    for request in requests:
        await contender.generate(request)


def make_together(streams: int) -> Scenario:
    return Scenario(
        name=f"streams_{streams}",
        title=f"{streams} streams, distinct short prompts, {TOKENS} tokens each",
        setup=Setup(context_length=CONTEXT_LENGTH, parallel=streams),
        contenders=TOGETHER,
        figures=per_contender(TOGETHER, "wall", "all together", "tok/s"),
        bars=(
            Bar("lmrun.wall", "bare.wall"),
            Bar("lmrun.wall", "llama_server.wall", at_least=1.0),
            Bar("lmrun_unified.wall", "llama_server_unified.wall", at_least=1.0),
            Bar("lmrun.wall", "llama_cpp_server.wall", at_least=2.5),
        ),
        measure=measure_together(streams),
        starts_anew=True,
    )


SINGLE_STREAM = Scenario(
    name="single_stream",
    title=f"1 stream, {TOKENS} tokens",
    setup=Setup(context_length=CONTEXT_LENGTH, parallel=1),
    contenders=EVERYONE,
    figures=(
        *per_contender(EVERYONE, "decode", "decoding", "tok/s", prefill=False),
        *per_contender(EVERYONE, "wall", "whole answer", "tok/s"),
    ),
    bars=(
        Bar("lmrun.decode", "bare.decode", at_least=0.97),
        Bar("lmrun.decode", "llama_server.decode", at_least=1.0),
        Bar("lmrun.wall", "bare.wall", at_least=0.97),
        Bar("lmrun.wall", "llama_server.wall", at_least=1.0),
        Bar("lmrun.wall", "llama_cpp_server.wall"),
    ),
    measure=measure_single,
    starts_anew=True,
)
STREAMS_8, STREAMS_16 = make_together(8), make_together(16)
STREAMS_COMING = Scenario(
    name="streams_coming",
    title=f"{COMING} clients, each with {ROUNDS} short prompts in turn, answers of 16 to 96 tokens",
    setup=Setup(context_length=CONTEXT_LENGTH, parallel=8),
    contenders=SERVERS,
    figures=per_contender(SERVERS, "wall", "until the last", "tok/s"),
    bars=(
        Bar("lmrun.wall", "llama_server.wall"),
        Bar("lmrun.wall", "llama_server_unified.wall"),
        Bar("lmrun.wall", "lmrun_unified.wall"),
    ),
    measure=measure_coming,
    starts_anew=True,
)
