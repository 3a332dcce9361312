"""What the house around the engine costs: two models at once, and the way of the first token."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from benchmarks.client import Connection, post
from benchmarks.contenders.base import END_TOKENS, LMRUN, Request, Setup, to_body
from benchmarks.contenders.engine import make_prediction
from benchmarks.contenders.lmrun import LmrunServer
from benchmarks.prompts import make_short_prompt
from benchmarks.results import Bar, Figure, Values
from benchmarks.scenarios.base import Arena, Scenario, decode_rate
from lmrun.chat.events import MessageDelta
from lmrun.chat.messages import RawPrompt
from lmrun.server import House, open_house
from lmrun.store.home import Home

TOKENS, FIRST_TOKENS = 64, 100
CONTEXT_LENGTH = 1024
_PROMPT = "Story:"


async def measure_two_models(arena: Arena, repeat: int) -> Values:
    server = arena.get(LMRUN)
    requests = [
        Request(make_short_prompt(f"{model} {repeat}"), TOKENS, model=model) for model in "ab"
    ]
    alone = [decode_rate((await server.generate(request))[0]) for request in requests]
    answers = await server.generate(*requests)
    together = [decode_rate(answer) for answer in answers]
    return {
        "alone": min(alone),
        "together": min(together),
        "kept": min(after / before for before, after in zip(alone, together, strict=True)),
        "gap": 1000 * max(gap for answer in answers for gap in answer.gaps_s),
    }


async def measure_first_token(arena: Arena, repeat: int) -> Values:
    """By a lease in a house of our own; over HTTP to a server, on a connection that is kept, as
    clients keep it; and on a new one. The same prompt again and again, so that there is as little
    to compute as can be."""
    server: LmrunServer = arena.get(LMRUN)
    body = to_body(Request(_PROMPT, 1))
    direct, kept, fresh = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.ensure()
        async with open_house(home, os.environ) as house, Connection(server.address) as connection:
            async for _ in house.intake.apply(server.profile, {}, watch=False):
                pass
            await time_direct(house)
            gc.freeze()  # as a server does; no pause of ours is to be measured
            for _ in range(FIRST_TOKENS):
                direct.append(await time_direct(house))
                kept.append((await connection.post("/v1/completions", body)).read().first_s)
                fresh.append((await post(server.address, "/v1/completions", body)).read().first_s)
            gc.unfreeze()
    added = [over - without for over, without in zip(kept, direct, strict=True)]
    return {
        "direct": 1000 * median(direct),
        "http": 1000 * median(kept),
        "fresh": 1000 * median(fresh),
        "added": 1000 * median(added),
        "added_p95": 1000 * quantiles(added, n=20)[18],
    }


async def time_direct(house: House) -> float:
    """Seconds to the first token without HTTP."""
    prediction = make_prediction(1, {"logit_bias": END_TOKENS})
    began, first_s = time.perf_counter(), 0.0
    async with house.pool.acquire("a") as lease:
        async for event in lease.generate(RawPrompt(_PROMPT), prediction):
            if isinstance(event, MessageDelta) and not first_s:
                first_s = time.perf_counter() - began
    return first_s


TWO_MODELS = Scenario(
    name="two_models",
    title="two models streaming at once",
    setup=Setup(CONTEXT_LENGTH, parallel=1, models=2),
    contenders=(LMRUN,),
    figures=(
        Figure("alone", "lmrun, the slower one alone", "tok/s", False),
        Figure("together", "lmrun, the slower one of both", "tok/s", False),
        Figure("kept", "lmrun, share kept of the rate alone", "", False),
        Figure("gap", "lmrun, longest gap between chunks", "ms", False),
    ),
    bars=(Bar("kept", at_least=0.6),),
    measure=measure_two_models,
)
FIRST_TOKEN = Scenario(
    name="first_token",
    title="what HTTP adds to the time of a one-token request",
    setup=Setup(CONTEXT_LENGTH, parallel=1),
    contenders=(LMRUN,),
    figures=(
        Figure("direct", "lmrun, by a lease in the same process", "ms"),
        Figure("http", "lmrun, over HTTP", "ms"),
        Figure("fresh", "lmrun, over HTTP, on a new connection", "ms"),
        Figure("added", "lmrun, median of the differences", "ms"),
        Figure("added_p95", "lmrun, p95 of the differences", "ms"),
    ),
    bars=(Bar("added", at_most=1.5), Bar("added_p95", at_most=4)),
    measure=measure_first_token,
)
