"""Many streams at once, while somebody asks whether the server is well. No model: a script."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

from benchmarks.contenders.base import LMRUN, Place, Request, Setup
from benchmarks.contenders.lmrun import LmrunServer
from benchmarks.results import Bar, Figure, Values
from benchmarks.scenarios.base import Arena, Scenario

STREAMS, MODELS = 500, 2
TOKENS, SECONDS_PER_TOKEN = 60, 0.05
HEALTH_EVERY_S = 0.02

_SETUP = Setup(context_length=4096, parallel=STREAMS // MODELS, models=MODELS)
_SCRIPT = {
    "replies": [
        {"pieces": [" tick"], "repeat": TOKENS, "seconds_per_token": SECONDS_PER_TOKEN},
    ]
}


async def measure_crowd(arena: Arena, repeat: int) -> Values:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "m.scripted.json"
        script.write_text(json.dumps(_SCRIPT))
        server = LmrunServer(Place(script, _SETUP, Path(folder)))
        await server.start()
        try:
            return await _measure(server)
        finally:
            await server.stop()


async def _measure(server: LmrunServer) -> Values:
    waits: list[float] = []
    asking = asyncio.create_task(_ask_for_health(server.address, waits))
    requests = [
        Request(f"{number}", TOKENS, {"logit_bias": None, "top_k": None}, model="ab"[number % 2])
        for number in range(STREAMS)
    ]
    answers = await server.generate(*requests)
    asking.cancel()
    complete = sum(len(answer.text.split()) == TOKENS for answer in answers)
    gaps = [gap for answer in answers for gap in answer.gaps_s]
    return {
        "complete": complete,
        "health": 1000 * quantiles(waits, n=100)[98],
        "gap": 1000 * quantiles(gaps, n=100)[98],
        "last": max(answer.times[-1] for answer in answers),
    }


async def _ask_for_health(address: str, waits: list[float]) -> None:
    """Again and again over one connection, as a probe does."""
    url = urlsplit(address)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        while True:
            began = time.perf_counter()
            writer.write(f"GET /health HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(HEALTH_EVERY_S)
    finally:
        writer.close()


CROWD = Scenario(
    name="crowd",
    title=f"{STREAMS} streams of a script at {1 / SECONDS_PER_TOKEN:g} tokens/s each",
    setup=_SETUP,
    contenders=(),
    figures=(
        Figure("complete", "lmrun, streams that were complete", "", False),
        Figure("health", "lmrun, p99 of /health meanwhile", "ms", False),
        Figure("gap", "lmrun, p99 gap between chunks", "ms", False),
        Figure("last", f"{LMRUN}, seconds until the last token", "s", False),
    ),
    bars=(Bar("complete", at_least=STREAMS), Bar("health", at_most=100)),
    measure=measure_crowd,
    most_repeats=3,
)
