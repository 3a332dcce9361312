"""Replacing an instance by a new version of itself, so that no request fails for it.

A version is a supervisor of its own. Requests go to the current one; whoever has a lease on an
older one keeps it. It does not decide which way an instance is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from lmrun.errors import LmrunError, RolledBack
from lmrun.failpoints import reach
from lmrun.runtime.instance import Instance
from lmrun.runtime.probe import probe
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.supervisor import Supervisor

Way = Literal["blue_green", "recreate"]
OnProgress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Rollout:
    """How to replace an instance by `spec`. `drain_s`: how long the old version's leases may last
    from then on. `turn`: what is held while the new version loads."""

    spec: InstanceSpec
    way: Way
    drain_s: float
    turn: AbstractAsyncContextManager[None] = field(default_factory=nullcontext)

    async def bring_up(self, new: Supervisor, on_progress: OnProgress) -> None:
        """Load `new` and try it out. Raises what either raises."""
        async with self.turn:
            await new.load(on_progress)
            reach("rollout.loaded")
            await probe(new)
            reach("rollout.probed")


@dataclass(slots=True)
class Rollouts:
    """`current`: the version of each instance that requests go to, by identifier; a rollout
    changes it. `start`: makes a version, which is not loaded yet. `on_retired`: the old version
    of this instance is gone."""

    current: dict[str, Supervisor]
    start: Callable[[InstanceSpec], Supervisor]
    on_retired: Callable[[str], None]
    _arriving: dict[str, Supervisor] = field(default_factory=dict)
    _retiring: dict[str, Supervisor] = field(default_factory=dict)
    _retirements: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def beside(self) -> Iterator[Supervisor]:
        """Versions that are not current: those that come, and those that are on their way out."""
        yield from self._arriving.values()
        yield from self._retiring.values()

    def arriving(self, identifier: str) -> Instance | None:
        """The version that is about to take the place of the current one."""
        return self._arriving[identifier].instance if identifier in self._arriving else None

    def retiring(self, identifier: str) -> Instance | None:
        """The version whose last leases are waited for."""
        return self._retiring[identifier].instance if identifier in self._retiring else None

    async def run(self, rollout: Rollout, on_progress: OnProgress) -> None:
        """Replace the current version of `rollout.spec.identifier`, and return when the new one
        takes requests. No version may be left from an earlier rollout.

        Raises RolledBack when the new version does not load, or gives no answer: requests go to the
        old one then. Cancelling this leaves the old version in place; where that has been unloaded
        already, requests wait for what comes next.
        """
        if rollout.way == "blue_green":
            await self._run_beside(rollout, on_progress)
        else:
            await self._run_instead(rollout, on_progress)

    async def until_retired(self, identifier: str) -> None:
        """Wait for the end of the version that an earlier rollout left."""
        if identifier in self._retirements:
            await asyncio.wait({self._retirements[identifier]})

    async def end(self, identifier: str) -> None:
        """End what is beside the current version at once, its streams included."""
        beside = [each.get(identifier) for each in (self._arriving, self._retiring)]
        await asyncio.gather(*(it.unload() for it in beside if it is not None))

    async def close(self) -> None:
        """End everything that is beside the current versions."""
        await asyncio.gather(*(self.end(name) for name in {*self._arriving, *self._retiring}))
        await asyncio.gather(*self._retirements.values())

    async def _run_beside(self, rollout: Rollout, on_progress: OnProgress) -> None:
        """Load and probe the new version while the old one serves, then switch."""
        name = rollout.spec.identifier
        new = self._arriving[name] = self.start(rollout.spec)
        try:
            await rollout.bring_up(new, on_progress)
        except LmrunError as error:
            reach("rollout.refused")
            await new.unload()
            raise _rolled_back(rollout, error) from error
        except BaseException:
            await new.unload()
            raise
        finally:
            del self._arriving[name]
        old = self.current.get(name)
        self._make_current(new)
        reach("rollout.switched")
        if old is not None:
            task = asyncio.create_task(self._retire(old, rollout.drain_s), name=f"retire {name}")
            self._retirements[name] = task
            task.add_done_callback(lambda _: self._retirements.pop(name))

    async def _run_instead(self, rollout: Rollout, on_progress: OnProgress) -> None:
        """Let the old version finish while requests wait, unload it, then load the new one."""
        name = rollout.spec.identifier
        old, new = self.current[name], self.start(rollout.spec)
        new.hold()
        self._make_current(new)
        try:
            await self._retire(old, rollout.drain_s)
        except BaseException:
            self._give_back(new, old)
            raise
        if not new.is_held:
            raise new.not_ready()
        reach("rollout.emptied")
        try:
            await rollout.bring_up(new, on_progress)
        except LmrunError as error:
            if not new.is_held:
                # Unloaded meanwhile: nobody wants the old one back.
                raise
            await new.end()
            reach("rollout.returning")
            await self._return_to(old.instance.spec, error)
            raise _rolled_back(rollout, error) from error
        except BaseException:
            # Still held: who waits goes on waiting until the next load, or an unload.
            await new.end()
            raise
        new.release()

    def _make_current(self, new: Supervisor) -> None:
        """Send requests to `new`, also those that wait for the version before."""
        name = new.instance.spec.identifier
        old = self.current.get(name)
        self.current[name] = new
        if old is not None:
            old.supersede()

    def _give_back(self, new: Supervisor, old: Supervisor) -> None:
        """Cancelled while `old` drained. It is current again, unless it is on its way out."""
        if old.instance.state in ("ready", "loading"):
            old.restore()
            self._make_current(old)
            new.release()

    async def _retire(self, old: Supervisor, drain_s: float) -> None:
        """Wait for its last lease, then unload it."""
        name = old.instance.spec.identifier
        self._retiring[name] = old
        try:
            await old.until_unused(drain_s)
            reach("rollout.drained")
            await old.unload()
        finally:
            del self._retiring[name]
            self.on_retired(name)

    async def _return_to(self, spec: InstanceSpec, error: LmrunError) -> None:
        """Load the old version again. Raises LmrunError when that fails, too."""
        old = self.start(spec)
        old.hold()
        self._make_current(old)
        try:
            await old.load(lambda fraction: None)
        except LmrunError as second:
            old.release()
            raise LmrunError(
                f"The new version failed: {error.message} The old one cannot be loaded again: "
                f"{second.message}",
                hint=second.hint,
            ) from error
        old.release()


def _rolled_back(rollout: Rollout, error: LmrunError) -> RolledBack:
    return RolledBack(
        f"The new version of {rollout.spec.identifier!r} does not work: {error.message} "
        "The old one goes on serving.",
        is_disruptive=rollout.way == "recreate",
        hint=error.hint,
    )
