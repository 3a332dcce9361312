"""Mixed requests for a while: none fails, everything is returned, memory stays flat.

`make soak` runs the same for ten minutes on the real models.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from statistics import median
from typing import Any

import gguf
import pytest

from lmrun.chat.events import ChatEnd
from lmrun.chat.messages import ImagePart, Message, RawPrompt, TextPart
from lmrun.chat.request import Request
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.runtime.pool import Pool
from lmrun.runtime.process.memory import read_memory
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.bert import bert_path
from tests.support.instances import eventually, open_pool
from tests.support.pictures import encode, noise
from tests.support.smollm2 import smollm2_path
from tests.support.tiny_bert import make_tiny_bert
from tests.support.tiny_llama import write_tiny_llama

MINUTES = float(os.environ.get("LMRUN_SOAK_MINUTES", "0"))
SECONDS = 60 * MINUTES or 4.0
CLIENTS = 10
SETTLED = 0.25
"""Share of the time after which memory should not grow any more."""
CACHE_BYTES = 32 * 2**20
MOST_GROWTH_BYTES = 8 * 2**20 if MINUTES else CACHE_BYTES + 8 * 2**20
"""In a few seconds the prefix cache is still being filled."""

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
}
SYSTEM = "You are a patient assistant who answers in few words. " * 6


def describe(path: Path, name: str, **load: Any) -> InstanceSpec:
    stat = path.stat()
    config = LoadConfig.model_validate({"context_length": 512, **load})
    return InstanceSpec(
        identifier=name,
        model_key=name,
        engine="llama_cpp",
        path=path,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        load=config,
    )


class Client:
    """Asks all kinds of things, one after the other, until the time is over."""

    def __init__(self, pool: Pool, number: int, seen: Counter[str]) -> None:
        self._pool = pool
        self._random = random.Random(number)
        self._seen = seen

    async def run(self, until: float) -> None:
        kinds = (self.chat, self.complete, self.leave, self.constrain, self.show, self.embed)
        while time.monotonic() < until:
            ask = self._random.choice(kinds)
            await ask()
            self._seen[ask.__name__] += 1

    async def chat(self) -> None:
        messages = (Message("system", SYSTEM), Message("user", self._text(20)))
        await self._generate(Request(messages), max_tokens=self._random.randint(1, 40))

    async def complete(self) -> None:
        choice: dict[str, Any] = self._random.choice(
            [{"prompt_lookup": True}, {"logprobs": 2}, {"deterministic": "strict", "seed": 1}]
        )
        await self._generate(RawPrompt(self._text(80)), max_tokens=30, **choice)

    async def leave(self) -> None:
        wanted = self._random.randint(0, 12)
        async with self._pool.acquire("text") as lease:
            prompt = RawPrompt(self._text(60))
            async with aclosing(lease.generate(prompt, PredictionConfig())) as events:
                for _ in range(wanted):
                    await anext(events, None)

    async def constrain(self) -> None:
        structured = {"type": "json", "json_schema": SCHEMA}
        await self._generate(RawPrompt(self._text(10)), max_tokens=60, structured=structured)

    async def show(self) -> None:
        """An image, which this model refuses."""
        message = Message("user", (TextPart("What is it?"), ImagePart(encode(noise()))))
        with pytest.raises((InvalidParameter, UnsupportedParameter)):
            await self._generate(Request((message,)), max_tokens=5)

    async def embed(self) -> None:
        texts = [self._text(10) for _ in range(self._random.randint(1, 8))]
        async with self._pool.acquire("vectors") as lease:
            answer = await lease.embed(texts)
        assert answer.count == len(texts)

    async def _generate(self, prompt: Any, **prediction: Any) -> None:
        config = PredictionConfig.model_validate({"temperature": 0.8, **prediction})
        async with self._pool.acquire("text") as lease:
            events = [event async for event in lease.generate(prompt, config)]
        assert isinstance(events[-1], ChatEnd)

    def _text(self, words: int) -> str:
        known = ("time", "sea", "clock", "bread", "river", "seven", "slowly", "under", "and")
        return " ".join(self._random.choices(known, k=self._random.randint(1, words)))


async def watch_memory(pool: Pool, until: float, samples: list[int]) -> None:
    """The workers' own memory, swapped out or not, in bytes."""
    while time.monotonic() < until:
        await asyncio.sleep(SECONDS / 100)
        pids = [instance.pid for instance in pool.instances.values()]
        read = [read_memory(pid) for pid in pids if pid is not None]
        samples.append(sum(memory.anonymous for memory in read if memory is not None))


def is_returned(pool: Pool) -> bool:
    """Whether no sequence and no KV token is held any more."""
    usages = [it.usage for it in pool.instances.values()]
    idle = all(it.active == it.waiting == it.in_flight == 0 for it in pool.instances.values())
    return idle and all(usage is not None and usage.kv_tokens_used == 0 for usage in usages)


@pytest.mark.timeout(SECONDS + 120)
def test_mixed_requests_leave_nothing_behind(tmp_path: Path) -> None:
    text = smollm2_path() if MINUTES else write_tiny_llama(tmp_path / "text.gguf")
    vectors = (
        bert_path()
        if MINUTES
        else make_tiny_bert(gguf.PoolingType.MEAN).write(tmp_path / "vectors.gguf")
    )
    seen: Counter[str] = Counter()
    samples: list[int] = []

    async def body() -> None:
        specs = (
            describe(text, "text", kv_tokens=1500, prefix_cache={"ram": f"{CACHE_BYTES}B"}),
            describe(vectors, "vectors", context_length=64),
        )
        async with open_pool(*specs) as pool:
            until = time.monotonic() + SECONDS
            clients = [Client(pool, number, seen).run(until) for number in range(CLIENTS)]
            await asyncio.gather(*clients, watch_memory(pool, until, samples))
            await eventually(lambda: is_returned(pool))
            assert [it.restarts for it in pool.instances.values()] == [0, 0]

    asyncio.run(body())
    print(f"{sum(seen.values())} requests {dict(seen)}, memory {samples[0]} to {samples[-1]} bytes")
    assert len(seen) == 6
    settled = samples[int(SETTLED * len(samples)) :]
    third = len(settled) // 3
    assert median(settled[-third:]) - median(settled[:third]) < MOST_GROWTH_BYTES
