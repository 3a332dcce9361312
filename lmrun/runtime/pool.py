"""All instances of this server: loaded and unloaded, leased to requests, given CPU cores.

It decides nothing about what should be loaded and knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from lmrun.engines.base import CacheStore
from lmrun.errors import LmrunError, ModelNotFound, QueueFull, StoreError
from lmrun.runtime.cores import Demand, grant
from lmrun.runtime.instance import Instance
from lmrun.runtime.lease import Lease
from lmrun.runtime.observing import Observer
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.supervisor import Supervisor, Surroundings
from lmrun.runtime.timings import Timings
from lmrun.store.prefixes import PrefixStore

logger = logging.getLogger(__name__)

_READY_ORDER = {"ready": 0, "loading": 1, "unloading": 2, "failed": 3, "stopped": 4}


class Pool:
    """`cores`: threads that all workers together may use. `queue_limit`: requests that may wait
    per instance beyond those it generates for. `prefixes`: where workers keep them, if anywhere.
    `observer`: who is told what leases are used for. `on_change`: the state, progress or defaults
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
    ) -> None:
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

    @property
    def instances(self) -> Mapping[str, Instance]:
        """Every instance that is not stopped, by identifier."""
        return {name: supervisor.instance for name, supervisor in self._supervisors.items()}

    async def load(self, spec: InstanceSpec, on_progress: Callable[[float], None]) -> None:
        """Load an instance; `on_progress` receives 0.0 to 1.0.

        One of that identifier is unloaded first; requests that come meanwhile wait for the new
        one. Raises EngineError, ModelInvalid and the like; the instance stays listed as `failed`.
        Raises ModelNotReady when it is unloaded meanwhile.
        """
        supervisor = self._supervisors.get(spec.identifier)
        if supervisor is None:
            supervisor = self._supervisors[spec.identifier] = Supervisor(spec, self._surroundings)
        try:
            await supervisor.replace(spec, on_progress)
        finally:
            self._forget_if_gone(supervisor)

    async def unload(self, identifier: str) -> None:
        """End an instance; its streams end with ModelNotReady. Returns when the process is gone.

        An unknown identifier is none that is loaded: nothing happens.
        """
        supervisor = self._supervisors.get(identifier)
        if supervisor is None:
            return
        await supervisor.unload()
        self._forget_if_gone(supervisor)

    def update(self, spec: InstanceSpec) -> None:
        """Change the hot fields of an instance: `prediction` and `system_prompt`."""
        instance = self._supervisors[spec.identifier].instance
        assert fixed_fields(instance.spec) == fixed_fields(spec), "a Reload, not an Update"
        instance.spec = spec
        self._surroundings.on_change()

    @asynccontextmanager
    async def acquire(self, name: str) -> AsyncIterator[Lease]:
        """A lease on the instance called `name`, or on the least busy one of the model `name`.

        Waits while it is loading or restarting. Raises ModelNotFound, QueueFull, and
        ModelNotReady when it failed or is being unloaded.
        """
        supervisor = self._choose(name)
        supervisor.instance.in_flight += 1
        try:
            await supervisor.until_settled()
            if supervisor.instance.state != "ready":
                raise supervisor.not_ready()
            yield Lease(supervisor, self._find_file, self._observer)
        finally:
            supervisor.instance.in_flight -= 1

    async def close(self) -> None:
        """Unload everything."""
        await asyncio.gather(*(self.unload(identifier) for identifier in [*self._supervisors]))

    def _choose(self, name: str) -> Supervisor:
        """The instance that a request for `name` goes to. Raises ModelNotFound and QueueFull."""
        candidates = [self._supervisors[name]] if name in self._supervisors else []
        candidates = candidates or [
            supervisor
            for supervisor in self._supervisors.values()
            if supervisor.instance.spec.model_key == name
        ]
        if not candidates:
            raise self._not_found(name)
        best = min(candidates, key=_busyness)
        most = best.instance.spec.load.max_parallel_predictions + self._queue_limit()
        if best.instance.in_flight >= most:
            raise QueueFull(
                f"{best.instance.in_flight} requests for {name!r} are in work or waiting already.",
                hint="The limit is the profile's server.limits.queue.",
            )
        return best

    def _forget_if_gone(self, supervisor: Supervisor) -> None:
        identifier = supervisor.instance.spec.identifier
        if supervisor.is_gone and self._supervisors.get(identifier) is supervisor:
            del self._supervisors[identifier]

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
        demands = {name: _demand(each) for name, each in self._supervisors.items()}
        for name, threads in grant(self._cores, demands).items():
            self._supervisors[name].set_threads(threads)


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
        spec.load,
        spec.attached,
    )
