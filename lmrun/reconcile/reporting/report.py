"""Putting `status` together from what the others hold. It changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmrun import __version__
from lmrun.errors import LmrunError
from lmrun.profile.writing.values import write_value
from lmrun.reconcile.actions import InstancePool, Listener
from lmrun.reconcile.desired import Desired, DesiredModel
from lmrun.reconcile.drift.drift import Drift
from lmrun.reconcile.git.follower import GitFollower
from lmrun.reconcile.intake import Intake
from lmrun.reconcile.on_demand import OnDemand
from lmrun.reconcile.reconciler import Reconciler
from lmrun.reconcile.reporting import conditions
from lmrun.reconcile.reporting.conditions import ConditionBook, utc_now
from lmrun.reconcile.reporting.instances import instance_status
from lmrun.reconcile.reporting.tools import tools_condition, tools_status
from lmrun.reconcile.running import SERVER_SLOT, TOOLS_SLOT, slot_of
from lmrun.reconcile.status import (
    Condition,
    DriftStatus,
    InstanceStatus,
    ModelStatus,
    ProfileStatus,
    ServerMemory,
    ServerStatus,
    Status,
    ToolsStatus,
    ToolTrouble,
)
from lmrun.runtime.residency.residents import Residents
from lmrun.runtime.rollouts import Rollouts


@dataclass(slots=True)
class Reporter:
    """Makes the status; keeps only since when each condition has held. `log`: the file that the
    server's log goes to, if it is one. `find_obstacle`: why drift that is to be adopted is not.
    `find_troubles`: what keeps tools from being used. `follower`: of the repository, where one is
    followed."""

    home: Path
    reconciler: Reconciler
    intake: Intake
    pool: InstancePool
    residents: Residents
    rollouts: Rollouts
    on_demand: OnDemand
    listener: Listener
    log: Path | None = None
    find_obstacle: Callable[[Drift], str | None] = lambda drift: None
    find_troubles: Callable[[], Sequence[ToolTrouble]] = tuple
    follower: GitFollower | None = None
    _book: ConditionBook = field(default_factory=ConditionBook)
    _started: str = field(default_factory=utc_now)

    def status(self) -> Status:
        desired = self.reconciler.desired
        tools = tools_status(desired.tooling, self.find_troubles()) if desired else None
        return Status(
            server=ServerStatus(
                self.listener.address,
                os.getpid(),
                __version__,
                str(self.home),
                self._started,
                str(self.log) if self.log else None,
                ServerMemory(self.residents.claimed_bytes, self.residents.rules.limit_bytes),
            ),
            profile=self._profile(),
            conditions=self._conditions(tools),
            models=tuple(map(self._model, group_by_key(desired))) if desired else (),
            drift=tuple(map(self._drift, self.reconciler.find_drift())),
            git=self.follower.status() if self.follower else None,
            tools=tools,
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

    def _conditions(self, tools: ToolsStatus | None) -> tuple[Condition, ...]:
        return (
            conditions.profile_valid(self._book, self.intake.problem),
            self._listening(),
            self._converged(),
            conditions.stored(self._book, self.reconciler.journal.problem),
            *((conditions.git_synced(self._book, self.follower.refusal),) if self.follower else ()),
            *((self._tools(tools),) if tools else ()),
        )

    def _tools(self, tools: ToolsStatus) -> Condition:
        is_due = any(slot_of(it) == TOOLS_SLOT for it in self.reconciler.plan_now().actions)
        is_changing = is_due and TOOLS_SLOT not in self.reconciler.failures
        return tools_condition(self._book, tools, is_changing=is_changing)

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
        waiting = [
            name
            for name, it in self.pool.instances.items()
            if it.state != "ready" and it.spec.residency.origin != "jit"
        ]
        if waiting:
            return self._book.note(
                "", "Converged", "False", "InstanceNotReady", ", ".join(sorted(waiting))
            )
        changed = ", ".join(sorted(self.reconciler.left_alone))
        message = f"Left as clients changed them: {changed}." if changed else ""
        return self._book.note("", "Converged", "True", "Converged", message)

    def _model(self, declared: Sequence[DesiredModel]) -> ModelStatus:
        """`declared`: the instances that one model declares."""
        by_name = {model.identifier: model for model in declared}
        first = declared[0]
        shown = {
            name: instance_status(instance, by_name.get(name, first), self.residents, self.rollouts)
            for name, instance in sorted(self.pool.instances.items())
            if name in by_name or instance.spec.model_key == first.key
        }
        # The conditions are those of the worst one.
        worst = min(
            declared,
            key=lambda it: (_is_ready(shown.get(it.identifier)), self._failure(it) is None),
        )
        return self._model_status(worst, shown, [first.key, *by_name])

    def _model_status(
        self, model: DesiredModel, shown: Mapping[str, InstanceStatus], names: Sequence[str]
    ) -> ModelStatus:
        instance = shown.get(model.identifier)
        return ModelStatus(
            key=model.key,
            source=model.config.source,
            state=model.config.state,
            conditions=(
                conditions.available(self._book, model),
                *((self._up_to_date(model),) if _is_ready(instance) else ()),
                conditions.ready(self._book, model, instance, self._failure(model)),
            ),
            instances=tuple(shown.values()),
            waiting=self._count_waiting(set(names)),
        )

    def _up_to_date(self, model: DesiredModel) -> Condition:
        is_changing = self.reconciler.running_task(model.identifier) is not None
        failure = self._failure(model)
        return conditions.up_to_date(self._book, model, is_changing=is_changing, failure=failure)

    def _count_waiting(self, names: set[str]) -> int:
        """Requests that wait for a load which has begun, or is about to."""
        loading = (
            it.in_flight
            for name, it in self.pool.instances.items()
            if it.state != "ready" and names & {name, it.spec.model_key}
        )
        return self.residents.waiting_for(*names) + sum(loading)

    def _failure(self, model: DesiredModel) -> LmrunError | None:
        failure = self.reconciler.failures.get(model.identifier)
        failure = failure or self.on_demand.failure(model.identifier)
        return failure.error if failure else None


def group_by_key(desired: Desired) -> list[tuple[DesiredModel, ...]]:
    """The declared instances of each model."""
    groups: dict[str, tuple[DesiredModel, ...]] = {}
    for model in desired.models:
        groups[model.key] = (*groups.get(model.key, ()), model)
    return list(groups.values())


def _is_ready(instance: InstanceStatus | None) -> bool:
    return instance is not None and instance.state == "ready"


def _show(value: Any) -> str | None:
    return None if value is None else write_value(value)
