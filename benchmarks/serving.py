"""How fast the whole house serves: a client's HTTP streams beside a bare `llama_decode` loop.

    python -m benchmarks.serving [MODEL.gguf] [--repeats 5] [--tokens 64]

The house runs in this process, its workers and the client in theirs. Every repeat runs all
scenarios one after the other, so a busy machine slows them all; the table shows medians over the
repeats and of the ratios within a repeat.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine import PROMPT, run_bare
from benchmarks.model import find_model
from lmrun.chat.events import MessageDelta
from lmrun.chat.messages import RawPrompt
from lmrun.engines.llama_cpp.loading import NativeModel, load_native
from lmrun.reconcile.outcome import ApplyEnded
from lmrun.server import House, open_house
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.store.home import Home

SHORT_PROMPTS = [f"Story {number}:" for number in range(8)]
STREAMS = len(SHORT_PROMPTS)
CONTEXT_LENGTH = 1024
FIRST_TOKENS = 20
END_TOKENS = {"0": -100, "2": -100}
"""SmolLM2's end-of-text tokens: banned, so that every answer has the length that was asked for."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Tokens per second; seconds for the first token; the longest gap of two streams."""

    bare: float
    single: float
    batched: float
    solo: tuple[float, float]
    both: tuple[float, float]
    longest_gap_s: float
    first_direct_s: float
    first_http_s: float


class Client:
    """The other process: hand it requests, get the time of every chunk."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        self._address = address

    async def run(self, *bodies: dict[str, Any]) -> list[list[float]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"address": self._address, "bodies": bodies}
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        return list(json.loads(await self._process.stdout.readline()))

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def main() -> None:
    options = parse_arguments()
    path = options.model or await find_model()
    solo = LoadConfig(max_parallel_predictions=1, context_length=CONTEXT_LENGTH)
    bare = load_native(path, solo, os.cpu_count() or 1, lambda fraction: None)
    with tempfile.TemporaryDirectory() as folder:
        profile = write_profile(Path(folder), path)
        async with open_house(Home(Path(folder)), os.environ) as house:
            await apply(house, profile)
            async with open_client(str(house.listener.address)) as client:
                await measure(house, client, bare, options.tokens)
                repeats = [
                    await measure(house, client, bare, options.tokens)
                    for _ in range(options.repeats)
                ]
    bare.close()
    print(render(repeats))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    return parser.parse_args()


def write_profile(folder: Path, model: Path) -> Path:
    """The same model twice: `a` for most scenarios, `b` to stream beside it."""
    load = {"context_length": CONTEXT_LENGTH, "max_parallel_predictions": STREAMS}
    declared = {"source": f"file:{model}", "load": load}
    content = {"version": 1, "server": {"port": 0}, "models": {"a": declared, "b": declared}}
    profile = folder / "profile.yaml"
    profile.write_text(json.dumps(content))
    Home(folder).ensure()
    return profile


async def apply(house: House, profile: Path) -> None:
    async for event in house.intake.apply(profile, {}, watch=False):
        if isinstance(event, ApplyEnded) and not event.converged:
            raise SystemExit(f"The house did not converge: {house.status()}")


@asynccontextmanager
async def open_client(address: str) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.client",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    client = Client(process, address)
    try:
        yield client
    finally:
        await client.close()


async def measure(house: House, client: Client, bare: NativeModel, tokens: int) -> Repeat:
    """All scenarios once, one after the other."""
    prompt = bare.vocabulary.tokenize(PROMPT, add_special=True, parse_special=False)
    bare_rate = run_bare(bare, prompt, tokens)
    (single,) = await client.run(body("a", tokens))
    batched = await client.run(*(body("a", tokens, prompt) for prompt in SHORT_PROMPTS))
    (solo_a,) = await client.run(body("a", tokens))
    (solo_b,) = await client.run(body("b", tokens))
    both = await client.run(body("a", tokens), body("b", tokens))
    direct, http = [], []
    for _ in range(FIRST_TOKENS):
        direct.append(await time_direct(house))
        http.append((await client.run(body("a", 1, SHORT_PROMPTS[0])))[0][0])
    return Repeat(
        bare=bare_rate,
        single=rate(single, tokens),
        batched=rate_together(batched),
        solo=(rate(solo_a, tokens), rate(solo_b, tokens)),
        both=(rate(both[0], tokens), rate(both[1], tokens)),
        longest_gap_s=max(gap for times in both for gap in gaps(times)),
        first_direct_s=median(direct),
        first_http_s=median(http),
    )


def body(model: str, tokens: int, prompt: str = PROMPT) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "repeat_penalty": 1,
        "logit_bias": END_TOKENS,
    }


async def time_direct(house: House) -> float:
    """Seconds to the first token without HTTP: a lease in this process."""
    prediction = PredictionConfig(
        max_tokens=1,
        temperature=0,
        repeat_penalty=1,
        logit_bias={int(token): float(bias) for token, bias in END_TOKENS.items()},
    )
    begun = time.perf_counter()
    first = 0.0
    async with house.pool.acquire("a") as lease:
        async for event in lease.generate(RawPrompt(SHORT_PROMPTS[0]), prediction):
            if isinstance(event, MessageDelta) and not first:
                first = time.perf_counter() - begun
    return first


def rate(times: list[float], tokens: int) -> float:
    """Tokens per second after the first; later ones may share a chunk."""
    return (tokens - 1) / (times[-1] - times[0])


def rate_together(streams: list[list[float]]) -> float:
    """Tokens per second of all streams while all of them stream; a chunk is a token then."""
    begin, end = max(times[0] for times in streams), min(times[-1] for times in streams)
    chunks = sum(begin < at <= end for times in streams for at in times)
    return chunks / (end - begin)


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def render(repeats: list[Repeat]) -> str:
    """The table, and whether each bar is met."""

    single = median([it.single / it.bare for it in repeats])
    batched = median([it.batched / it.single for it in repeats])
    kept = median([min(it.both[0] / it.solo[0], it.both[1] / it.solo[1]) for it in repeats])
    gap_ms = 1000 * median([it.longest_gap_s for it in repeats])
    added_ms = 1000 * median([it.first_http_s - it.first_direct_s for it in repeats])
    rows = [
        ("bare llama_decode loop", f"{median([it.bare for it in repeats]):.1f} tok/s", "", ""),
        (
            "one HTTP stream",
            f"{median([it.single for it in repeats]):.1f} tok/s",
            f"{single:.2f} x bare",
            verdict(single >= 0.95, ">= 0.95"),
        ),
        (
            f"{STREAMS} HTTP streams together",
            f"{median([it.batched for it in repeats]):.1f} tok/s",
            f"{batched:.2f} x one stream",
            verdict(batched >= 1.6, ">= 1.6"),
        ),
        (
            "two models at once, the slower one",
            f"{median([min(it.both) for it in repeats]):.1f} tok/s",
            f"{kept:.2f} x alone",
            verdict(kept >= 0.6, ">= 0.6"),
        ),
        ("their longest gap", f"{gap_ms:.0f} ms", "", ""),
        (
            "first token, without HTTP",
            f"{1000 * median([it.first_direct_s for it in repeats]):.1f} ms",
            "",
            "",
        ),
        (
            "first token, over HTTP",
            f"{1000 * median([it.first_http_s for it in repeats]):.1f} ms",
            f"+ {added_ms:.2f} ms",
            verdict(added_ms <= 3.0, "<= 3 ms"),
        ),
    ]
    return "\n".join(
        f"{name:<38}{value:>14}   {ratio:<20}{bar}" for name, value, ratio, bar in rows
    )


def verdict(is_met: bool, bar: str) -> str:
    return f"{bar}: {'met' if is_met else 'MISSED'}"


if __name__ == "__main__":
    asyncio.run(main())
