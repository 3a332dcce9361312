"""What a plan is made from: what should be, what is, and what things cost. It changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from dataclasses import dataclass

from msgspec.structs import replace

from lmrun.errors import ModelInvalid
from lmrun.profile.loader import LoadedProfile
from lmrun.reconcile.actions import InstancePool, Listener
from lmrun.reconcile.desired import Desired, ModelFinder, estimate_memory, read_desired
from lmrun.reconcile.outcome import Plan
from lmrun.reconcile.plan import Observed, ObservedInstance, make_plan
from lmrun.reconcile.pricing import Prices
from lmrun.reconcile.saved import digest_files
from lmrun.runtime.instance import Instance


@dataclass(frozen=True, slots=True)
class Planner:
    """Looks at files, instances and the listener."""

    finder: ModelFinder
    pool: InstancePool
    listener: Listener
    prices: Prices

    async def plan(
        self, loaded: LoadedProfile, read_generation: Callable[[], int]
    ) -> tuple[Desired, Plan]:
        """What `loaded` wants, and what applying it would do now. `read_generation`: the one that
        is applied; nothing is awaited after that."""
        desired, observed = await asyncio.to_thread(self._look, loaded)
        plan = make_plan(desired, observed, read_generation())
        return desired, replace(plan, files=digest_files(loaded))

    def _look(self, loaded: LoadedProfile) -> tuple[Desired, Observed]:
        """What should be and what is, with prices. It blocks."""
        desired = self.prices.price(read_desired(loaded, self.finder))
        there = [it for it in list(self.pool.instances.values()) if it.state != "unloading"]
        instances = tuple(map(self._look_at, there))
        return desired, Observed(self.listener.config, instances, self.prices.free_bytes())

    def observe(self, without: Container[str]) -> Observed:
        """What is, without prices and without these instances."""
        instances = tuple(
            ObservedInstance(it.spec, it.state, it.in_flight)
            for name, it in self.pool.instances.items()
            if name not in without
        )
        return Observed(server=self.listener.config, instances=instances)

    def _look_at(self, instance: Instance) -> ObservedInstance:
        return ObservedInstance(
            instance.spec,
            instance.state,
            instance.in_flight,
            self._weigh(instance),
            tuple(sorted(+instance.clients)),
        )

    def _weigh(self, instance: Instance) -> int:
        """Bytes; nothing is known of an instance whose file is gone."""
        if instance.state == "failed":
            return 0
        try:
            estimate = estimate_memory(self.finder, instance.spec)
        except ModelInvalid:
            return 0
        return self.prices.memory_bytes(instance.spec, estimate)
