"""Putting `status` together from what the others hold. It changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmrun import __version__
from lmrun.errors import LmrunError
from lmrun.profile.writing.values import write_value
from lmrun.reconcile.actions import InstancePool, Listener
from lmrun.reconcile.desired import DesiredModel
from lmrun.reconcile.drift.drift import Drift
from lmrun.reconcile.intake import Intake
from lmrun.reconcile.reconciler import Reconciler
from lmrun.reconcile.reporting import conditions
from lmrun.reconcile.reporting.conditions import ConditionBook, utc_now
from lmrun.reconcile.reporting.memory import judge_memory
from lmrun.reconcile.running import SERVER_SLOT
from lmrun.reconcile.status import (
    Condition,
    DriftStatus,
    InstanceStatus,
    MemoryStatus,
    ModelStatus,
    ProfileStatus,
    ServerStatus,
    Status,
)
from lmrun.runtime.instance import Instance
from lmrun.runtime.pool import fixed_fields
from lmrun.runtime.process.memory import read_memory


@dataclass(slots=True)
class Reporter:
    """Makes the status; keeps only since when each condition has held. `log`: the file that the
    server's log goes to, if it is one. `find_obstacle`: why drift that is to be adopted is not."""

    home: Path
    reconciler: Reconciler
    intake: Intake
    pool: InstancePool
    listener: Listener
    log: Path | None = None
    find_obstacle: Callable[[Drift], str | None] = lambda drift: None
    _book: ConditionBook = field(default_factory=ConditionBook)
    _started: str = field(default_factory=utc_now)

    def status(self) -> Status:
        desired = self.reconciler.desired
        return Status(
            server=ServerStatus(
                self.listener.address,
                os.getpid(),
                __version__,
                str(self.home),
                self._started,
                str(self.log) if self.log else None,
            ),
            profile=self._profile(),
            conditions=self._conditions(),
            models=tuple(self._model(model) for model in desired.models) if desired else (),
            drift=tuple(map(self._drift, self.reconciler.find_drift())),
        )

    def _drift(self, drift: Drift) -> DriftStatus:
        return DriftStatus(
            drift.field,
            drift.identifier,
            drift.change.owner,
            drift.change.since,
            _show(drift.desired),
            _show(drift.observed),
            self.find_obstacle(drift),
        )

    def _profile(self) -> ProfileStatus | None:
        loaded = self.reconciler.loaded
        if loaded is None:
            return None
        return ProfileStatus(
            tuple(str(source.path) for source in loaded.texts),
            self.reconciler.generation,
            self.reconciler.observed_generation,
            self.intake.is_watching,
            self.reconciler.drift_policy,
        )

    def _conditions(self) -> tuple[Condition, ...]:
        return (
            conditions.profile_valid(self._book, self.intake.problem),
            self._listening(),
            self._converged(),
        )

    def _listening(self) -> Condition:
        failure = self.reconciler.failures.get(SERVER_SLOT)
        if failure is not None:
            reason = conditions.reason_of(failure.error)
            return self._book.note("", "Listening", "False", reason, str(failure.error))
        if self.listener.address is None:
            return self._book.note("", "Listening", "False", "NoProfile")
        return self._book.note("", "Listening", "True", "Listening", self.listener.address)

    def _converged(self) -> Condition:
        if self.reconciler.desired is None:
            return self._book.note("", "Converged", "False", "NoProfile")
        failures = self.reconciler.failures
        if failures:
            named = ", ".join(slot or "the listener" for slot in sorted(failures))
            return self._book.note("", "Converged", "False", "ActionFailed", f"Failed: {named}.")
        if self.reconciler.is_progressing or not self.reconciler.plan_now().is_empty:
            return self._book.note("", "Converged", "False", "Progressing")
        waiting = [name for name, it in self.pool.instances.items() if it.state != "ready"]
        if waiting:
            return self._book.note(
                "", "Converged", "False", "InstanceNotReady", ", ".join(sorted(waiting))
            )
        changed = ", ".join(sorted(self.reconciler.left_alone))
        message = f"Left as clients changed them: {changed}." if changed else ""
        return self._book.note("", "Converged", "True", "Converged", message)

    def _model(self, model: DesiredModel) -> ModelStatus:
        shown = {
            name: _instance_status(instance, model)
            for name, instance in self.pool.instances.items()
            if name == model.identifier or instance.spec.model_key == model.key
        }
        instance = shown.get(model.identifier)
        return ModelStatus(
            key=model.key,
            source=model.config.source,
            state=model.config.state,
            conditions=(
                conditions.available(self._book, model),
                conditions.ready(self._book, model, instance, self._failure(model)),
            ),
            instances=tuple(shown.values()),
        )

    def _failure(self, model: DesiredModel) -> LmrunError | None:
        failure = self.reconciler.failures.get(model.identifier)
        return failure.error if failure else None


def _show(value: Any) -> str | None:
    return None if value is None else write_value(value)


def _instance_status(instance: Instance, model: DesiredModel) -> InstanceStatus:
    return InstanceStatus(
        identifier=instance.spec.identifier,
        state=instance.state,
        engine=instance.spec.engine,
        pid=instance.pid,
        threads=instance.threads,
        context_length=instance.info.context_length if instance.info else None,
        active=instance.active,
        waiting=instance.waiting,
        restarts=instance.restarts,
        progress=instance.progress,
        error=str(instance.error) if instance.error is not None else None,
        memory=_memory_status(instance, model),
        usage=instance.usage,
    )


def _memory_status(instance: Instance, model: DesiredModel) -> MemoryStatus:
    # The estimate is of what is wanted, which a reload has not reached yet.
    is_reached = model.spec is not None and fixed_fields(model.spec) == fixed_fields(instance.spec)
    estimated = model.estimate.at_load if model.estimate is not None and is_reached else None
    measured = read_memory(instance.pid) if instance.pid and instance.state == "ready" else None
    return judge_memory(estimated, measured, instance.usage)
