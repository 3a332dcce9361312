"""A pool without workers: every step of a generation waits for the test's word.

For what a real worker cannot hold still: a request in the queue, one in its prefill.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from lmrun.chat.events import ChatEnd, Event, MessageDelta, PromptProgress, Usage
from lmrun.chat.request import Prompt, Request
from lmrun.engines.base import ModelInfo
from lmrun.errors import LmrunError, ModelNotFound
from lmrun.runtime.answers.texts import Rendered, Tokens
from lmrun.runtime.answers.vectors import Scores, Vectors
from lmrun.runtime.instance import Instance
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.turns import Priority, current_priority
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig

Phase = Literal["queue", "prefill", "first token", "mid-stream"]

INFO = ModelInfo(
    engine="scripted",
    engine_version="1",
    type="llm",
    architecture="scripted",
    context_length=4096,
    max_sequences=4,
    vocab_size=100,
    embedding_length=1,
)


def make_instance(identifier: str = "assistant") -> Instance:
    """A ready one."""
    spec = InstanceSpec(
        identifier=identifier,
        model_key=identifier,
        engine="scripted",
        path=Path("/nowhere.scripted.json"),
        size=1,
        mtime_ns=1_700_000_000 * 10**9,
        load=LoadConfig(),
    )
    return Instance(spec, state="ready", info=INFO)


class StandInLease:
    def __init__(self, pool: StandInPool, instance: Instance) -> None:
        self._pool = pool
        self._instance = instance

    @property
    def instance(self) -> Instance:
        return self._instance

    async def generate(
        self, prompt: Prompt, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        pool = self._pool
        pool.prompts.append(prompt)
        pool.predictions.append(prediction)
        pool.open_generators += 1
        try:
            await pool.reach("prefill")
            yield PromptProgress(1, 1)
            await pool.reach("first token")
            for said in pool.said or map(MessageDelta, pool.pieces):
                yield said
            await pool.reach("mid-stream")
            yield ChatEnd("eosFound", Usage(3, len(pool.pieces), 1))
        finally:
            # Clean-up that waits, as a real one may.
            await asyncio.sleep(0)
            pool.open_generators -= 1

    async def embed(
        self, inputs: Sequence[str | Sequence[int]], dimensions: int | None = None
    ) -> Vectors:
        vectors = array("f", [1.0, *[0.0] * ((dimensions or 4) - 1)] * len(inputs))
        await self._pool.reach("prefill")
        return Vectors(vectors.tobytes(), len(inputs), 3 * len(inputs))

    async def score(self, query: str, documents: Sequence[str]) -> Scores:
        await self._pool.reach("prefill")
        return Scores(tuple(map(float, range(len(documents)))), 5 * len(documents))

    async def render(self, request: Request) -> Rendered:
        self._pool.prompts.append(request)
        await self._pool.reach("prefill")
        return Rendered("rendered", 3)

    async def count_tokens(self, prompt: Prompt) -> int:
        self._pool.prompts.append(prompt)
        await self._pool.reach("prefill")
        return 3

    async def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, with_pieces: bool = False
    ) -> Tokens:
        await self._pool.reach("prefill")
        data = text.encode()
        pieces = tuple(bytes([byte]) for byte in data) if with_pieces else ()
        return Tokens(tuple(data), pieces)

    async def detokenize(self, tokens: Sequence[int]) -> bytes:
        await self._pool.reach("prefill")
        return bytes(token % 256 for token in tokens)


class StandInPool:
    """`stop_at`: the phase in which every generation stays. `fail_at`: where it raises. `said`:
    what a generation says instead of `pieces`."""

    def __init__(self, *, pieces: tuple[str, ...] = ("Hello", " world")) -> None:
        self.pieces = pieces
        self.said: tuple[Event, ...] = ()
        self.stop_at: Phase | None = None
        self.fail_at: Phase | None = None
        self.failure: Exception = LmrunError("as told")
        self.instances: Mapping[str, Instance] = {"assistant": make_instance()}
        self.prompts: list[Prompt] = []
        self.predictions: list[PredictionConfig] = []
        self.open_leases = 0
        self.open_generators = 0
        self.reached: list[Phase] = []
        self.ttls_s: list[float | None] = []
        self.priorities: list[Priority] = []

    @property
    def offered(self) -> tuple[InstanceSpec, ...]:
        return tuple(self.instances[name].spec for name in sorted(self.instances))

    async def reach(self, phase: Phase) -> None:
        self.reached.append(phase)
        if self.fail_at == phase:
            raise self.failure
        if self.stop_at == phase:
            await asyncio.Event().wait()

    @asynccontextmanager
    async def acquire(
        self, name: str, *, ttl_s: float | None = None
    ) -> AsyncIterator[StandInLease]:
        self.ttls_s.append(ttl_s)
        self.priorities.append(current_priority())
        if name not in self.instances:
            raise ModelNotFound(f"There is no model {name!r}.", param="model")
        self.open_leases += 1
        try:
            await self.reach("queue")
            yield StandInLease(self, self.instances[name])
        finally:
            self.open_leases -= 1

    @property
    def is_idle(self) -> bool:
        return self.open_leases == 0 and self.open_generators == 0
