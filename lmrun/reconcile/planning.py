"""What a plan is made from: what should be, what is, and what things cost. It changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from lmrun.errors import ModelInvalid
from lmrun.profile.loader import LoadedProfile
from lmrun.reconcile.actions import InstancePool, Listener, ToolRoom
from lmrun.reconcile.desired import Desired, ModelFinder, estimate_memory, read_desired
from lmrun.reconcile.evictions import Room, foresee_evictions
from lmrun.reconcile.outcome import Plan
from lmrun.reconcile.plan import Observed, ObservedInstance, make_plan
from lmrun.reconcile.pricing import Prices
from lmrun.reconcile.saved import digest_files
from lmrun.runtime.spec import InstanceSpec


@dataclass(frozen=True, slots=True)
class Planner:
    """Looks at files, instances, the listener and the tools."""

    finder: ModelFinder
    pool: InstancePool
    listener: Listener
    tools: ToolRoom
    prices: Prices

    async def plan(
        self, loaded: LoadedProfile, read_generation: Callable[[], int]
    ) -> tuple[Desired, Plan]:
        """What `loaded` wants, and what applying it would do now. `read_generation`: the one that
        is applied; nothing is awaited after that."""
        specs = [it.spec for it in self.pool.instances.values() if it.state != "failed"]
        desired, weights = await asyncio.to_thread(self._read, loaded, specs)
        room = self.prices.room()
        observed = self._observe_all(weights, room)
        plan = make_plan(desired, observed, read_generation())
        plan = foresee_evictions(plan, desired, room)
        return desired, replace(plan, files=digest_files(loaded))

    def _read(
        self, loaded: LoadedProfile, specs: Sequence[InstanceSpec]
    ) -> tuple[Desired, Mapping[str, int]]:
        """What should be, with prices, and the bytes that instances of these specs take. It
        blocks."""
        desired = self.prices.price(read_desired(loaded, self.finder))
        return desired, {spec.identifier: self._weigh(spec) for spec in specs}

    def _observe_all(self, weights: Mapping[str, int], room: Room) -> Observed:
        """What is, with prices."""
        instances = tuple(
            ObservedInstance(
                it.spec,
                it.state,
                it.in_flight,
                weights.get(name, 0),
                tuple(sorted(+it.clients)),
            )
            for name, it in self.pool.instances.items()
            if it.state != "unloading"
        )
        return Observed(self.listener.config, instances, room.free_bytes, self.tools.tooling)

    def observe(self, without: Container[str]) -> Observed:
        """What is, without prices and without these instances."""
        instances = tuple(
            ObservedInstance(it.spec, it.state, it.in_flight)
            for name, it in self.pool.instances.items()
            if name not in without
        )
        return Observed(self.listener.config, instances, tooling=self.tools.tooling)

    def _weigh(self, spec: InstanceSpec) -> int:
        """Bytes; nothing is known of an instance whose file is gone."""
        try:
            estimate = estimate_memory(self.finder, spec)
        except ModelInvalid:
            return 0
        return self.prices.memory_bytes(spec, estimate)
