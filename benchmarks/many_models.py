"""A reconciler with many models that all are as they should be: no process runs, nothing is loaded.

What is left is what a plan and a look cost by themselves.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.catalog.catalog import Catalog
from lmrun.profile.loader import LoadedProfile, load_profile
from lmrun.profile.schema import ServerConfig
from lmrun.profile.tooling.section import Tooling
from lmrun.reconcile.actions import Executor
from lmrun.reconcile.desired import read_desired
from lmrun.reconcile.history import Journal
from lmrun.reconcile.outcome import ApplyEvent, Plan
from lmrun.reconcile.pricing import Prices
from lmrun.reconcile.reconciler import Reconciler
from lmrun.runtime.instance import Instance
from lmrun.runtime.rollouts import Rollout
from lmrun.runtime.spec import InstanceSpec
from lmrun.store.generations import Generations, Origin
from lmrun.store.home import Home
from lmrun.store.measurements import Measurements

_ORIGIN = Origin("somebody", "apply")
_TURNS = 5


class NothingToDo(AssertionError):
    """Something was done where nothing was to do."""


@dataclass(slots=True)
class StillPool:
    """Instances that are ready and stay so."""

    instances: Mapping[str, Instance] = field(default_factory=dict)

    async def make_room(self, spec: InstanceSpec) -> None:
        raise NothingToDo(spec.identifier)

    def give_room_back(self, identifier: str) -> None:
        raise NothingToDo(identifier)

    async def load(self, spec: InstanceSpec, on_progress: Callable[[float], None]) -> None:
        raise NothingToDo(spec.identifier)

    async def roll_out(self, rollout: Rollout, on_progress: Callable[[float], None]) -> None:
        raise NothingToDo(rollout.spec.identifier)

    async def unload(self, identifier: str) -> None:
        raise NothingToDo(identifier)

    def update(self, spec: InstanceSpec) -> None:
        raise NothingToDo(spec.identifier)


@dataclass(slots=True)
class StillListener:
    """A port that is open."""

    config: ServerConfig | None = None
    address: str | None = "http://127.0.0.1:1234"

    async def listen(self, config: ServerConfig) -> None:
        raise NothingToDo("listen")

    def update(self, config: ServerConfig) -> None:
        raise NothingToDo("update")


@dataclass(slots=True)
class StillHouse:
    """A reconciler that has converged."""

    profile: Path
    reconciler: Reconciler

    async def apply(self) -> list[ApplyEvent]:
        """Apply the profile as it is; all events."""
        applying = self.reconciler.apply(self._load(), _ORIGIN)
        async with aclosing(applying) as events:
            return [event async for event in events]

    async def plan(self) -> Plan:
        """From the file's text on."""
        return await self.reconciler.plan_for(await asyncio.to_thread(self._load))

    async def time_look(self) -> float:
        """Seconds that the reconciler's loop takes to see that nothing is to do."""
        started_s = time.perf_counter()
        self.reconciler.wake()
        for _ in range(_TURNS):
            # A look that finds nothing awaits nothing: it is over when this goes on.
            await asyncio.sleep(0)
        assert self.reconciler.has_looked
        return time.perf_counter() - started_s

    def _load(self) -> LoadedProfile:
        return load_profile(self.profile, {})


def write_profile(folder: Path, model: Path, count: int) -> Path:
    """A profile of `count` models, each with a file that is a link to `model`."""
    models = {}
    for number in range(count):
        link = folder / f"{number}{model.suffix}"
        link.symlink_to(model)
        load = {"context_length": 512 + number, "prefix_cache": {"ram": "64MiB"}}
        models[f"model-{number}"] = {"source": f"file:{link}", "preset": "terse", "load": load}
    preset = {"system_prompt": "Be brief.", "prediction": {"temperature": 0.5}}
    content = {"version": 1, "models": models, "presets": {"terse": preset}}
    profile = folder / "profile.yaml"
    profile.write_text(json.dumps(content, indent=2))
    return profile


class StillTools:
    """There are none."""

    tooling = Tooling()

    async def adopt(self, tooling: Tooling) -> None:
        raise AssertionError("nothing declares tools")


NO_TOOLS = StillTools()


@asynccontextmanager
async def still_house(folder: Path, model: Path, count: int) -> AsyncIterator[StillHouse]:
    """`count` models, all loaded as the profile in `folder` has them."""
    home = Home(folder / "home")
    home.ensure()
    catalog, pool, listener = Catalog(home), StillPool(), StillListener()
    prices = Prices(Measurements(home.measurements))
    generations = Generations(home.database)
    reconciler = Reconciler(
        finder=catalog,
        executor=Executor(catalog, pool, listener, NO_TOOLS, prices),
        pool=pool,
        listener=listener,
        tools=NO_TOOLS,
        journal=Journal(generations),
        prices=prices,
        on_change=lambda: None,
    )
    house = StillHouse(write_profile(folder, model, count), reconciler)
    desired = read_desired(load_profile(house.profile, {}), catalog)
    listener.config = desired.server
    pool.instances = {
        spec.identifier: Instance(spec, "ready")
        for it in desired.models
        if (spec := it.spec) is not None
    }
    await reconciler.accept(load_profile(house.profile, {}), _ORIGIN)
    running = asyncio.create_task(reconciler.run())
    try:
        await house.apply()
        yield house
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        generations.close()
