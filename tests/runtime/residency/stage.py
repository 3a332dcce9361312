"""A pool whose requests load models, with sizes, a limit and a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lmrun.runtime.pool import Pool
from lmrun.runtime.residency.claims import Claim
from lmrun.runtime.residency.eviction import Policy
from lmrun.runtime.residency.keeper import Keeper
from lmrun.runtime.residency.residency import Residency
from lmrun.runtime.residency.rules import Rules
from lmrun.runtime.spec import InstanceSpec
from tests.support.instances import QUICK, ignore_progress, make_spec, script

HELLO = script({"pieces": ["Hel", "lo"]})
JIT = Residency("jit", ttl_s=60)


@dataclass
class Stage:
    """A pool whose requests load what `specs` says, with sizes, a limit and a time of the test's.

    `loads`: of which identifiers, in their order.
    """

    folder: Path
    limit: int | None = None
    policy: Policy = "memory"
    queue_limit: int = 64
    now_s: float = 1000.0
    specs: dict[str, InstanceSpec] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    _loading: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pool = Pool(
            cores=2,
            queue_limit=lambda: self.queue_limit,
            on_change=lambda: None,
            timings=QUICK,
            rules=lambda: Rules(self.limit, self.policy),
            estimate=self.estimate,
            load_for=self._load_for,
            clock=lambda: self.now_s,
        )
        self.keeper = Keeper(self.pool.residents, lambda: self.pool.instances)

    def add(
        self, name: str, size: int = 1, content: Any = HELLO, residency: Residency = JIT
    ) -> InstanceSpec:
        spec = make_spec(self.folder, content, identifier=name, residency=residency)
        self.specs[name], self.sizes[name] = spec, size
        return spec

    async def load(self, name: str) -> None:
        await self.pool.load(self.specs[name], ignore_progress)

    @property
    def loaded(self) -> list[str]:
        return sorted(self.pool.instances)

    async def estimate(self, spec: InstanceSpec) -> Claim:
        return Claim(self.sizes[spec.identifier], 0, spec.path)

    async def _load_for(self, name: str, ttl_s: float | None) -> bool:
        if name not in self.specs:
            return False
        if name not in self._loading:
            self._loading[name] = asyncio.create_task(self._load(name, ttl_s))
            self._loading[name].add_done_callback(lambda _: self._loading.pop(name))
        await asyncio.shield(self._loading[name])
        return True

    async def _load(self, name: str, ttl_s: float | None) -> None:
        self.loads.append(name)
        spec = self.specs[name]
        residency = replace(spec.residency, asked_ttl_s=ttl_s)
        await self.pool.load(replace(spec, residency=residency), ignore_progress)


@asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Pool]:
    try:
        yield stage.pool
    finally:
        await stage.pool.close()
