"""Just-in-time loading: a request names a declared model that is not loaded, and it is loaded.

All requests that wait for the same instance wait for the same load, whoever began it. It knows no
HTTP and no lease.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace

from lmrun.errors import LmrunError, MemoryFull, ModelNotReady
from lmrun.reconcile.backoff import Failure, add_failure
from lmrun.reconcile.desired import DesiredModel
from lmrun.reconcile.reconciler import Reconciler
from lmrun.runtime.spec import InstanceSpec


class OnDemand:
    """Loads what requests ask for, as far as the accepted profile lets them."""

    def __init__(self, reconciler: Reconciler, clock: Callable[[], float] = time.monotonic) -> None:
        self._reconciler = reconciler
        self._clock = clock
        self._failures: dict[str, tuple[int, Failure]] = {}

    def offer(self) -> tuple[InstanceSpec, ...]:
        """The instances that a request would load; their files are on this machine."""
        desired = self._reconciler.desired
        if desired is None or not desired.server.jit.enabled:
            return ()
        return tuple(
            model.spec
            for model in desired.models
            if model.spec is not None and model.error is None and model.config.state != "absent"
        )

    def failure(self, identifier: str) -> Failure | None:
        """The last load for a request that failed, since the profile was accepted."""
        generation, failure = self._failures.get(identifier, (0, None))
        return failure if generation == self._reconciler.generation else None

    async def load_for(self, name: str, ttl_s: float | None) -> bool:
        """Load the instance that a request for `name` needs, or wait for the load that is on its
        way. False when no request may load it.

        Raises what its load raises, and ModelNotReady for one that has just failed, or that
        another profile gave up.
        """
        model = self._reconciler.find_declared(name)
        if model is None or model.config.state == "absent":
            return False
        running = self._reconciler.running_task(model.identifier)
        if running is None:
            if not self._is_enabled:
                return False
            self._refuse_failed(name, model)
            running = self._start(model, ttl_s)
        await self._wait(model.identifier, running)
        return True

    @property
    def _is_enabled(self) -> bool:
        desired = self._reconciler.desired
        return desired is not None and desired.server.jit.enabled

    def _start(self, model: DesiredModel, ttl_s: float | None) -> asyncio.Task[None]:
        residency = replace(model.residency, asked_ttl_s=ttl_s)
        spec = replace(model.spec, residency=residency) if model.spec is not None else None
        wanted = replace(model, spec=spec, residency=residency)
        task = self._reconciler.start_for_request(wanted)
        task.add_done_callback(lambda _: self._note(model.identifier, task))
        return task

    def _note(self, identifier: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None or isinstance(error, MemoryFull):
            # What does not fit now may fit in a moment, and asking costs nothing.
            self._failures.pop(identifier, None)
        elif isinstance(error, LmrunError):
            failure = add_failure(self.failure(identifier), error, self._clock())
            self._failures[identifier] = self._reconciler.generation, failure

    def _refuse_failed(self, name: str, model: DesiredModel) -> None:
        """Raises ModelNotReady while it is too early for another try."""
        known = (self._reconciler.failures.get(model.identifier), self.failure(model.identifier))
        for failure in known:
            if failure is not None and failure.retry_at_s > self._clock():
                wait_s = math.ceil(failure.retry_at_s - self._clock())
                raise ModelNotReady(
                    f"Model {name!r} cannot be loaded: {failure.error}", retry_after_s=wait_s
                )

    async def _wait(self, identifier: str, task: asyncio.Task[None]) -> None:
        """Until it has ended; whoever waits may leave."""
        await asyncio.wait({task})
        if task.cancelled():
            raise ModelNotReady(
                f"The load of {identifier!r} was given up: another profile was applied.",
                retry_after_s=1,
            )
        error = task.exception()
        if error is not None:
            raise error
