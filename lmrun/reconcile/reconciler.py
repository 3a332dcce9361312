"""The loop that makes what is into what should be.

Level-triggered: every turn compares desired with observed and starts what is missing; it never
relies on having seen what happened. It does not know how an action is done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path

from lmrun.errors import EngineError, LmrunError, ModelNotReady
from lmrun.failpoints import reach
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import DriftPolicy
from lmrun.reconcile.absence import explain_absence
from lmrun.reconcile.actions import Executor, InstancePool, Listener, ToolRoom
from lmrun.reconcile.backoff import Failure, add_failure
from lmrun.reconcile.desired import Desired, DesiredModel, ModelFinder, read_desired
from lmrun.reconcile.drift.drift import Drift, find_drift
from lmrun.reconcile.drift.ownership import HandChanges
from lmrun.reconcile.followers import Followers
from lmrun.reconcile.history import Journal
from lmrun.reconcile.outcome import (
    Action,
    ActionEnded,
    ActionStarted,
    ApplyEnded,
    ApplyEvent,
    Outcome,
    Plan,
    Planned,
)
from lmrun.reconcile.plan import make_plan
from lmrun.reconcile.planning import Planner
from lmrun.reconcile.pricing import Prices
from lmrun.reconcile.running import Running, slot_of
from lmrun.reconcile.saved import require_unmoved
from lmrun.store.generations import Origin

log = logging.getLogger("lmrun.reconcile")

RESYNC_S = 30.0


class Reconciler:
    """Holds the accepted profile and converges to it for as long as `run` runs."""

    def __init__(
        self,
        *,
        finder: ModelFinder,
        executor: Executor,
        pool: InstancePool,
        listener: Listener,
        tools: ToolRoom,
        journal: Journal,
        prices: Prices,
        on_change: Callable[[], None],
    ) -> None:
        self._finder = finder
        self._planner = Planner(finder, pool, listener, tools, prices)
        self._executor = executor
        self._pool = pool
        self._listener = listener
        self.journal = journal
        self._on_change = on_change
        self._followers = Followers()
        self._wake = asyncio.Event()
        self._running: dict[str, Running] = {}
        self._files_moved = False
        self._failed_before: frozenset[str] = frozenset()
        self.by_hand = HandChanges()
        """Instances that a client loaded or unloaded since the profile was accepted."""
        self.failures: dict[str, Failure] = {}
        self.loaded: LoadedProfile | None = None
        self.desired: Desired | None = None
        self.generation = 0
        self.observed_generation = 0

    def wake(self) -> None:
        """Something may have changed: look again."""
        self._wake.set()

    @property
    def has_looked(self) -> bool:
        """Whether it has looked since it was woken last."""
        return not self._wake.is_set()

    @property
    def is_progressing(self) -> bool:
        """Whether something is being done for the profile; what requests load is their affair."""
        return any(not it.is_for_request for it in self._running.values())

    @property
    def drift_policy(self) -> DriftPolicy:
        return self.loaded.profile.drift if self.loaded is not None else "report"

    @property
    def left_alone(self) -> frozenset[str]:
        """Instances that are not what the profile says, and stay so for now."""
        if self.drift_policy != "revert":
            return self.by_hand.identifiers
        return frozenset(name for name, it in self._running.items() if it.is_by_hand)

    def find_drift(self) -> tuple[Drift, ...]:
        """What clients have changed by hand and nobody is changing right now."""
        changes = self.by_hand.without(self._running.keys())
        if self.loaded is None or not changes:
            return ()
        observed = self._planner.observe(self._running).instances
        return find_drift(self.loaded.profile, observed, changes)

    def explain_absence(self, name: str) -> ModelNotReady | None:
        """Why the declared model `name` has no instance; None when nobody declared it."""
        model = self.find_declared(name)
        if model is None:
            return None
        slot = model.identifier
        is_by_hand = slot in self.left_alone and slot not in self._running
        return explain_absence(name, model, self.failures.get(slot), is_unloaded_by_hand=is_by_hand)

    def find_file(self, name: str) -> Path | None:
        """The file of the declared model `name`, if it is on this machine."""
        model = self.find_declared(name)
        return model.spec.path if model is not None and model.spec is not None else None

    async def plan_for(self, loaded: LoadedProfile) -> Plan:
        """What applying `loaded` would do now. Looks at files, changes nothing."""
        return (await self._planner.plan(loaded, lambda: self.generation))[1]

    def plan_now(self) -> Plan:
        """What is still to be done for the accepted profile, but for what is left alone."""
        plan = make_plan(self.desired, self._planner.observe(self._running), self.generation)
        actions = (action for action in plan.actions if slot_of(action) not in self.left_alone)
        return Plan(plan.base_generation, tuple(actions))

    def start_by_hand(
        self, action: Action, model: DesiredModel | None, owner: str
    ) -> asyncio.Task[None]:
        """Do what a client asks for; what becomes of it then is up to the profile's `drift`.

        A failure gives the instance back. Raises ModelNotReady while it is being changed already.
        """
        slot = action.target
        if slot in self._running:
            raise ModelNotReady(f"{slot!r} is being loaded or unloaded.", retry_after_s=1)
        self.by_hand.note(slot, owner)
        work = self._executor.run(action, None, model, self.loaded, self._followers.tell)
        task = asyncio.create_task(work, name=f"{action.kind} {slot} by hand")
        self._running[slot] = Running(action, model, task, is_by_hand=True)
        task.add_done_callback(lambda _: self._finish_by_hand(action, task))
        return task

    def running_task(self, identifier: str) -> asyncio.Task[None] | None:
        """What is being done with an instance right now."""
        running = self._running.get(identifier)
        return running.task if running is not None else None

    def start_for_request(self, model: DesiredModel) -> asyncio.Task[None]:
        """Load an instance because a request needs it; nothing may be under way with it. The task
        raises what the load raises, and is cancelled when another profile gives the load up."""
        slot = model.identifier
        action = Action("Load", slot, model.key, ())
        work = self._executor.run(action, None, model, self.loaded, self._followers.tell)
        task = asyncio.create_task(work, name=f"Load {slot} for a request")
        self._running[slot] = Running(action, model, task, is_for_request=True)
        task.add_done_callback(lambda _: self._finish(slot))
        return task

    async def accept(
        self, loaded: LoadedProfile, origin: Origin, *, keep_drift: bool = False
    ) -> int:
        """Make `loaded` the desired state and return its generation. Raises StoreError.

        `keep_drift`: what clients have changed by hand and the profile does not say stays theirs.
        """
        desired, plan = await self._planner.plan(loaded, lambda: self.generation)
        # Also when nothing is accepted: a disk that was full is then tried again by and by.
        self.wake()
        generation = self._adopt(loaded, desired, self.journal.accept(loaded, plan, origin))
        if not keep_drift:
            self.by_hand.forget_all()
        return generation

    async def resume(self, loaded: LoadedProfile, generation: int) -> None:
        """Make `loaded`, which is the stored `generation`, the desired state."""
        desired = await asyncio.to_thread(read_desired, loaded, self._finder)
        self._adopt(loaded, desired, generation)

    async def apply(
        self, loaded: LoadedProfile, origin: Origin, expected: Plan | None = None
    ) -> AsyncGenerator[ApplyEvent, None]:
        """Accept `loaded` and report until everything was tried. Leaving early stops the reports,
        not the work.

        Raises StoreError before the first event, and ProfileSuperseded when `expected` is given and
        something else would be done.
        """
        desired, plan = await self._planner.plan(loaded, lambda: self.generation)
        if expected is not None:
            require_unmoved(expected, plan)
        self.wake()
        with self._followers.subscribe() as events:
            generation = self._adopt(loaded, desired, self.journal.accept(loaded, plan, origin))
            self.by_hand.forget_all()
            yield Planned(plan, generation)
            for running in self._running.values():
                yield ActionStarted(running.action.kind, running.action.target)
            while True:
                event = await events.get()
                yield event
                if isinstance(event, ApplyEnded):
                    return

    async def release(self) -> None:
        """Want nothing any more; return when nothing is loaded. Raises StoreError."""
        self.journal.rest()
        self.loaded, self.desired = None, None
        self.failures.clear()
        self.by_hand.forget_all()
        self.wake()
        with self._followers.subscribe() as events:
            while self._running or self._pool.instances:
                await events.get()

    async def run(self) -> None:
        """Converge until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._look_at_files_again()
                self._cancel_stale()
                self._forget_what_is_settled()
                self._start_due()
                self._settle()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds_to_next_look()):
                        await self._wake.wait()
        finally:
            tasks = [running.task for running in self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _adopt(self, loaded: LoadedProfile, desired: Desired, generation: int) -> int:
        self.loaded, self.desired, self.generation = loaded, desired, generation
        self.failures.clear()
        self._failed_before = frozenset(
            name for name, it in self._pool.instances.items() if it.state == "failed"
        )
        reach("apply.adopted")
        self.wake()
        self._on_change()
        return generation

    async def _look_at_files_again(self) -> None:
        """An action may have fetched a file, or a missing one may have come since."""
        loaded, now_s = self.loaded, time.monotonic()
        is_due = any(failure.retry_at_s <= now_s for failure in self.failures.values())
        if loaded is None or not (self._files_moved or is_due):
            return
        self._files_moved = False
        desired = await asyncio.to_thread(read_desired, loaded, self._finder)
        if loaded is self.loaded:
            self.desired = desired

    def find_declared(self, name: str) -> DesiredModel | None:
        """The declared instance of that identifier, else the first one of that model."""
        models = self.desired.models if self.desired else ()
        called = next((it for it in models if it.identifier == name), None)
        return called or next((it for it in models if it.key == name), None)

    def _wanted(self, target: str) -> DesiredModel | None:
        models = self.desired.models if self.desired else ()
        return next(
            (it for it in models if it.identifier == target and it.config.state != "absent"), None
        )

    def _cancel_stale(self) -> None:
        """Stop loading what is no longer wanted like that. An unload is let finish."""
        for running in self._running.values():
            if not running.is_cancelled and self._is_stale(running):
                running.is_cancelled = True
                running.task.cancel()

    def _is_stale(self, running: Running) -> bool:
        target = running.action.target
        if running.model is None or running.is_by_hand:
            return running.model is not None and target not in self.by_hand
        wanted = self._wanted(target)
        return wanted is None or not wanted.is_same_wish(running.model)

    def _start_due(self) -> None:
        actions = {slot_of(action): action for action in self.plan_now().actions}
        self.failures = {slot: it for slot, it in self.failures.items() if slot in actions}
        for slot, action in actions.items():
            if slot not in self._running:
                self._start_if_due(slot, action)

    def _start_if_due(self, slot: str, action: Action) -> None:
        now_s = time.monotonic()
        instance = self._pool.instances.get(slot)
        has_failed = instance is not None and instance.state == "failed" and action.kind != "Unload"
        if instance is not None and has_failed and slot not in self.failures:
            # It gave up by itself (a crash loop): that counts as a failed try, unless the person
            # who applies has just asked for another.
            if slot not in self._failed_before:
                error = instance.error or EngineError("The instance failed.")
                self.failures[slot] = add_failure(None, error, now_s)
            self._failed_before -= {slot}
        failure = self.failures.get(slot)
        if failure is None or failure.retry_at_s <= now_s:
            self._start(slot, action)

    def _start(self, slot: str, action: Action) -> None:
        model = self._wanted(action.target) if action.kind in ("Load", "Reload") else None
        task = asyncio.create_task(self._perform(slot, action), name=f"{action.kind} {slot}")
        self._running[slot] = Running(action, model, task)
        task.add_done_callback(lambda _: self._finish(slot))
        self._followers.tell(ActionStarted(action.kind, action.target))

    def _finish(self, slot: str) -> None:
        del self._running[slot]
        self._files_moved = True
        self.wake()
        self._on_change()

    def _finish_by_hand(self, action: Action, task: asyncio.Task[None]) -> None:
        slot = action.target
        if task.cancelled() or task.exception() is not None:
            log.error("%s: %s", task.get_name(), None if task.cancelled() else task.exception())
            self.by_hand.forget(slot)
            # Its try is over: the profile's wish comes at once.
            self._failed_before |= {slot}
        self._finish(slot)

    def _forget_what_is_settled(self) -> None:
        """What was changed by hand and is as the profile has it is nobody's."""
        drifting = {drift.identifier for drift in self.find_drift()}
        self.by_hand.keep_only(drifting | self._running.keys())

    async def _perform(self, slot: str, action: Action) -> None:
        started_s = time.monotonic()
        error: LmrunError | None = None
        try:
            await self._wait_for_unloads(action)
            model = self._wanted(action.target)
            server = self.desired.server if self.desired else None
            await self._executor.run(action, server, model, self.loaded, self._followers.tell)
        except LmrunError as raised:
            error = raised
        except Exception as raised:
            # The outermost boundary of an action: a bug in one must not end the loop.
            log.exception("%s %s", action.kind, action.target)
            error = LmrunError(f"Internal error: {raised!r}.", hint="The server's log has more.")
        self._note(slot, action, error, time.monotonic() - started_s)

    async def _wait_for_unloads(self, action: Action) -> None:
        """Memory is given back before more is taken."""
        if action.kind in ("Load", "Reload"):
            unloads = [it.task for it in self._running.values() if it.action.kind == "Unload"]
            await asyncio.gather(*unloads, return_exceptions=True)

    def _note(self, slot: str, action: Action, error: LmrunError | None, seconds: float) -> None:
        if error is None:
            self.failures.pop(slot, None)
            log.info("%s %s: done in %.1f s", action.kind, action.target, seconds)
        else:
            self.failures[slot] = add_failure(self.failures.get(slot), error, time.monotonic())
            log.error("%s %s: %s", action.kind, action.target, error)
        message, hint = (error.message, error.hint) if error else (None, None)
        outcome = Outcome(action.kind, action.target, seconds, message, hint)
        self.journal.note(self.generation, outcome)
        self._followers.tell(ActionEnded(outcome))

    def _settle(self) -> None:
        """Tell those who wait, once everything was tried and no instance is in between."""
        states = {
            it.state for it in self._pool.instances.values() if it.spec.residency.origin != "jit"
        }
        if self.is_progressing or states & {"loading", "unloading"}:
            return
        self.journal.write()
        converged = self.desired is not None and self.plan_now().is_empty
        if converged and self.observed_generation != self.generation:
            self.observed_generation = self.generation
            self._on_change()
            self.journal.mark(self.generation, "converged")
        self._followers.tell(ApplyEnded(converged, self.generation, self._listener.address))

    def _seconds_to_next_look(self) -> float:
        now_s = time.monotonic()
        due_s = [it.retry_at_s for slot, it in self.failures.items() if slot not in self._running]
        return max(0.0, min([RESYNC_S, self.journal.retry_s, *(at_s - now_s for at_s in due_s)]))
