"""All instances of this server: loaded and unloaded, leased to requests, given CPU cores.

It decides nothing about what should be loaded and knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

from lmrun.engines.base import CacheStore
from lmrun.errors import LmrunError, ModelNotFound, QueueFull, StoreError
from lmrun.failpoints import reach
from lmrun.runtime.cores import Demand, grant
from lmrun.runtime.instance import Instance
from lmrun.runtime.lease import Lease
from lmrun.runtime.observing import Observer
from lmrun.runtime.residency.residents import Estimating, Residents, claim_nothing
from lmrun.runtime.residency.rules import Rules
from lmrun.runtime.rollouts import Rollout, Rollouts
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.supervisor import Supervisor, Surroundings
from lmrun.runtime.timings import Timings
from lmrun.store.prefixes import PrefixStore

logger = logging.getLogger(__name__)

Loading = Callable[[str, float | None], Awaitable[bool]]


async def load_nothing(name: str, ttl_s: float | None) -> bool:
    """For a pool whose requests load nothing."""
    return False


_READY_ORDER = {"ready": 0, "loading": 1, "unloading": 2, "failed": 3, "stopped": 4}


class Pool:
    """`cores`: threads that all workers together may use. `queue_limit`: requests that may wait
    per instance beyond those it generates for. `prefixes`: where workers keep them, if anywhere.
    `observer`: who is told what leases are used for. `rules`, `estimate`: how much memory there
    is, and what a load takes of it. `load_for`: loads the instance that a request's name means,
    with the TTL that it asks for; False when it may not. `offer`: those that it would load.
    `name_client`: who asks for the lease that is being given.
    `on_change`: the state, progress or defaults
    of an instance have changed; counts and threads change too often to be told."""

    def __init__(
        self,
        *,
        cores: int,
        queue_limit: Callable[[], int],
        on_change: Callable[[], None],
        explain_absence: Callable[[str], LmrunError | None] = lambda name: None,
        find_file: Callable[[str], Path | None] = lambda name: None,
        timings: Timings | None = None,
        prefixes: PrefixStore | None = None,
        observer: Observer | None = None,
        rules: Callable[[], Rules] = Rules,
        estimate: Estimating = claim_nothing,
        load_for: Loading = load_nothing,
        offer: Callable[[], tuple[InstanceSpec, ...]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        name_client: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._name_client = name_client
        self._load_for = load_for
        self._offer = offer
        self._explain_absence = explain_absence
        self._find_file = find_file
        self._cores = cores
        self._queue_limit = queue_limit
        self._prefixes = prefixes
        self._observer = observer
        self._surroundings = Surroundings(
            timings or Timings(), on_change, self._share_cores, self._open_cache
        )
        self._supervisors: dict[str, Supervisor] = {}
        self.residents = Residents(
            self._supervisors,
            unload=self.unload,
            rules=rules,
            estimate=estimate,
            clock=clock,
        )
        self.rollouts = Rollouts(
            self._supervisors,
            lambda spec: Supervisor(spec, self._surroundings),
            self.residents.give_back_beside,
        )

    @property
    def instances(self) -> Mapping[str, Instance]:
        """Every instance, by identifier; one is `stopped` while requests wait for its load."""
        return {name: supervisor.instance for name, supervisor in self._supervisors.items()}

    @property
    def offered(self) -> tuple[InstanceSpec, ...]:
        """What requests may name, by identifier: instances that answer, perhaps after a wait, and
        those that a request would load."""
        there = {
            name: it.spec for name, it in self.instances.items() if it.state in ("ready", "loading")
        }
        offered = {spec.identifier: spec for spec in self._offer()} | there
        return tuple(offered[name] for name in sorted(offered))

    async def make_room(self, spec: InstanceSpec) -> None:
        """Keep memory for `spec`, which `load` does by itself; this may wait until others have
        left. Raises ModelTooLarge and MemoryFull."""
        await self.residents.make_room(spec)

    def give_room_back(self, identifier: str) -> None:
        """What room was made for, unless it has been loaded, does not come."""
        if identifier not in self._supervisors:
            self.residents.give_back(identifier)

    async def load(self, spec: InstanceSpec, on_progress: Callable[[float], None]) -> None:
        """Load an instance; `on_progress` receives 0.0 to 1.0.

        One of that identifier is unloaded first; requests that come meanwhile wait for the new
        one. Raises EngineError, ModelInvalid and the like; the instance stays listed as `failed`.
        Raises ModelNotReady when it is unloaded meanwhile, and what `make_room` raises.
        """
        await self.residents.make_room(spec)
        reach("load.room_made")
        supervisor = self._supervisors.get(spec.identifier)
        if supervisor is None:
            supervisor = self._supervisors[spec.identifier] = Supervisor(spec, self._surroundings)
        try:
            await supervisor.replace(spec, on_progress)
            self.residents.note_loaded(spec.identifier)
        finally:
            self._forget_if_gone(supervisor)

    async def roll_out(self, rollout: Rollout, on_progress: Callable[[float], None]) -> None:
        """Replace an instance by a new version of itself; no request fails for it.

        Where memory does not hold both versions, requests wait for the new one. Raises RolledBack
        when the new version does not work and the old one serves on, and what `make_room` raises.
        """
        name = rollout.spec.identifier
        await self.rollouts.until_retired(name)
        if rollout.way == "blue_green" and await self.residents.make_room_beside(rollout.spec):
            await self._roll_out_beside(rollout, on_progress)
            return
        await self.residents.make_room(rollout.spec)
        await self.rollouts.run(replace(rollout, way="recreate"), on_progress)
        self.residents.note_loaded(name)

    async def _roll_out_beside(
        self, rollout: Rollout, on_progress: Callable[[float], None]
    ) -> None:
        name = rollout.spec.identifier
        try:
            await self.rollouts.run(rollout, on_progress)
        except BaseException:
            self.residents.give_back_beside(name)
            raise
        self.residents.note_switched(name)
        if self.rollouts.retiring(name) is None:
            self.residents.give_back_beside(name)

    async def unload(self, identifier: str) -> None:
        """End an instance; its streams end with ModelNotReady. Returns when the process is gone.

        An unknown identifier is none that is loaded: nothing happens.
        """
        supervisor = self._supervisors.get(identifier)
        if supervisor is not None:
            await supervisor.unload()
            self._forget_if_gone(supervisor)
        await self.rollouts.end(identifier)

    def update(self, spec: InstanceSpec) -> None:
        """Change the hot fields of an instance: `prediction`, `system_prompt`, `residency`; what
        the request that loaded it asked for stays."""
        instance = self._supervisors[spec.identifier].instance
        assert fixed_fields(instance.spec) == fixed_fields(spec), "a Reload, not an Update"
        asked = instance.spec.residency.asked_ttl_s
        instance.spec = replace(spec, residency=replace(spec.residency, asked_ttl_s=asked))
        self._surroundings.on_change()

    @asynccontextmanager
    async def acquire(self, name: str, *, ttl_s: float | None = None) -> AsyncIterator[Lease]:
        """A lease on the instance called `name`, or on the least busy one of the model `name`.

        Waits while it is loading or restarting; one that is not loaded is loaded, where that is
        wanted, and may then be idle for `ttl_s`. Raises ModelNotFound, QueueFull, ModelNotReady
        when it failed or is being unloaded, and what its load raises.
        """
        supervisor = await self._enter(name, ttl_s)
        try:
            with supervisor.leased(self._name_client()):
                yield Lease(supervisor, self._find_file, self._observer)
        finally:
            supervisor.instance.in_flight -= 1
            self.residents.note_served(supervisor.instance.spec.identifier)

    async def close(self) -> None:
        """Unload everything."""
        unloads = (self.unload(identifier) for identifier in [*self._supervisors])
        await asyncio.gather(self.rollouts.close(), *unloads)

    async def _enter(self, name: str, ttl_s: float | None) -> Supervisor:
        """An instance that is ready, with one more in flight."""
        supervisor = self._choose(name)
        while True:
            if supervisor is None:
                supervisor = await self._bring(name, ttl_s)
            with _counted(supervisor.instance):
                await supervisor.until_settled()
                if not supervisor.is_superseded:
                    if supervisor.instance.state != "ready":
                        raise supervisor.not_ready()
                    supervisor.instance.in_flight += 1
                    return supervisor
            supervisor = await self._follow(supervisor, name)

    async def _follow(self, superseded: Supervisor, name: str) -> Supervisor | None:
        """What has taken the place of an instance while somebody waited for it, if anything."""
        identifier = superseded.instance.spec.identifier
        if self._supervisors.get(identifier) is superseded:
            await self.residents.until_left(identifier)
        return self._supervisors.get(identifier) or self._find(name)

    async def _bring(self, name: str, ttl_s: float | None) -> Supervisor:
        """The instance that `name` means, loaded for this request or for another one that came
        before. Raises ModelNotFound, QueueFull, and what its load raises."""
        if self.residents.waiting_for(name) > self._queue_limit():
            raise _queue_full(name, self.residents.waiting_for(name))
        with self.residents.wanting(name):
            while (found := self._find(name)) is None:
                if not await self._load_for(name, ttl_s):
                    raise self._not_found(name)
            return found

    def _choose(self, name: str) -> Supervisor | None:
        """The instance that a request for `name` goes to. Raises QueueFull."""
        best = self._find(name)
        if best is None:
            return None
        most = best.instance.spec.load.max_parallel_predictions + self._queue_limit()
        spec = best.instance.spec
        waiting = self.residents.waiting_for(*{spec.identifier, spec.model_key})
        if best.instance.in_flight + waiting >= most:
            raise _queue_full(name, best.instance.in_flight + waiting)
        return best

    def _find(self, name: str) -> Supervisor | None:
        """The instance called `name`, or the least busy one of that model.

        None for one that a request had loaded and that failed or is being unloaded: another
        request may have it loaded again.
        """
        called = self._supervisors.get(name)
        of_model = [it for it in self._supervisors.values() if it.instance.spec.model_key == name]
        candidates = of_model if called is None else [called]
        return min((it for it in candidates if not _is_lost(it)), key=_busyness, default=None)

    def _forget_if_gone(self, supervisor: Supervisor) -> None:
        identifier = supervisor.instance.spec.identifier
        if supervisor.is_gone and self._supervisors.get(identifier) is supervisor:
            del self._supervisors[identifier]
            self.residents.give_back(identifier)

    def _not_found(self, name: str) -> LmrunError:
        """Declared but not here, with the reason, or known to nobody."""
        absent = self._explain_absence(name)
        if absent is not None:
            return absent
        known = [name for name, it in self.instances.items() if it.state in ("ready", "loading")]
        return ModelNotFound(
            f"There is no model {name!r}.",
            param="model",
            hint=f"Loaded are: {', '.join(known)}." if known else "No model is loaded.",
        )

    def _open_cache(self, spec: InstanceSpec) -> CacheStore | None:
        """Where the instance's worker keeps prefixes, when its profile wants that.

        Nowhere, where that cannot be had: it costs time then, but no model.
        """
        if self._prefixes is None or not spec.load.prefix_cache.persist:
            return None
        try:
            folder = self._prefixes.open(f"{spec.identifier}\n{spec.path}")
            return CacheStore(str(folder), self._prefixes.read_key(), spec.identity)
        except StoreError as error:
            logger.warning("%s keeps no prefixes: %s", spec.identifier, error)
            return None

    def _share_cores(self) -> None:
        workers = [*self._supervisors.values(), *self.rollouts.beside]
        demands = {str(number): _demand(each) for number, each in enumerate(workers)}
        for number, threads in grant(self._cores, demands).items():
            workers[int(number)].set_threads(threads)


@contextmanager
def _counted(instance: Instance) -> Iterator[None]:
    """One more in flight, for as long as the block runs."""
    instance.in_flight += 1
    try:
        yield
    finally:
        instance.in_flight -= 1


def _queue_full(name: str, count: int) -> QueueFull:
    return QueueFull(
        f"{count} requests for {name!r} are in work or waiting already.",
        hint="The limit is the profile's server.limits.queue.",
    )


def _is_lost(supervisor: Supervisor) -> bool:
    instance = supervisor.instance
    is_over = instance.state in ("failed", "unloading", "stopped") and not supervisor.is_held
    return is_over and instance.spec.residency.origin == "jit"


def _busyness(supervisor: Supervisor) -> tuple[int, int]:
    return _READY_ORDER[supervisor.instance.state], supervisor.instance.in_flight


def _demand(supervisor: Supervisor) -> Demand:
    most = supervisor.instance.spec.load.threads
    if supervisor.instance.state == "loading":
        return Demand("loading", most)
    return Demand("streaming" if supervisor.is_streaming else "idle", most)


def fixed_fields(spec: InstanceSpec) -> tuple[object, ...]:
    """What an Update cannot change."""
    return (
        spec.identifier,
        spec.model_key,
        spec.engine,
        spec.path,
        spec.size,
        spec.mtime_ns,
        spec.load.fixed,
        spec.attached,
        spec.prompt_template,
    )
