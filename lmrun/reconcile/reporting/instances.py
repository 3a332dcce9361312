"""What one instance is, for `status`. It measures its memory and changes nothing."""

from __future__ import annotations

from lmrun.reconcile.desired import DesiredModel
from lmrun.reconcile.reporting.memory import judge_memory
from lmrun.reconcile.status import (
    InstanceStatus,
    MemoryStatus,
    QueuedStatus,
    ResidencyStatus,
    RolloutStatus,
)
from lmrun.runtime.instance import Instance
from lmrun.runtime.pool import fixed_fields
from lmrun.runtime.process.memory import read_memory
from lmrun.runtime.residency.residents import Residents
from lmrun.runtime.rollouts import Rollouts


def instance_status(
    instance: Instance, model: DesiredModel, residents: Residents, rollouts: Rollouts
) -> InstanceStatus:
    """`model`: what the profile says of it."""
    return InstanceStatus(
        identifier=instance.spec.identifier,
        state=instance.state,
        engine=instance.spec.engine,
        pid=instance.pid,
        threads=instance.threads,
        context_length=instance.info.context_length if instance.info else None,
        active=instance.active,
        waiting=instance.queued,
        restarts=instance.restarts,
        progress=instance.progress,
        error=str(instance.error) if instance.error is not None else None,
        memory=_memory_status(instance, model),
        usage=instance.usage,
        residency=_residency_status(instance, residents),
        rollout=_rollout_status(instance.spec.identifier, rollouts),
        queue=tuple(
            QueuedStatus(place, it.priority, round(instance.turns.waited_s(it), 1))
            for place, it in enumerate(instance.turns.line, start=1)
        ),
    )


def _rollout_status(identifier: str, rollouts: Rollouts) -> RolloutStatus | None:
    arriving, retiring = rollouts.arriving(identifier), rollouts.retiring(identifier)
    if arriving is not None:
        return RolloutStatus("arriving", arriving.pid, arriving.progress)
    if retiring is not None:
        return RolloutStatus("retiring", retiring.pid, in_flight=retiring.in_flight)
    return None


def _memory_status(instance: Instance, model: DesiredModel) -> MemoryStatus:
    # The estimate is of what is wanted, which a reload has not reached yet.
    is_reached = model.spec is not None and fixed_fields(model.spec) == fixed_fields(instance.spec)
    estimated = model.estimate.at_load if model.estimate is not None and is_reached else None
    measured = read_memory(instance.pid) if instance.pid and instance.state == "ready" else None
    return judge_memory(estimated, measured, instance.usage)


def _residency_status(instance: Instance, residents: Residents) -> ResidencyStatus:
    residency, idle_s = instance.spec.residency, residents.idle_s(instance.spec.identifier)
    return ResidencyStatus(
        residency.origin,
        residency.idle_limit_s,
        None if idle_s is None or instance.state != "ready" else round(idle_s, 1),
        residency.is_pinned,
    )
