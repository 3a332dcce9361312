"""Who would have to leave for what a plan loads, action by action. Pure: it unloads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from lmrun.reconcile.desired import Desired, DesiredModel
from lmrun.reconcile.outcome import Action, Plan
from lmrun.runtime.residency.claims import sum_claims
from lmrun.runtime.residency.eviction import Newcomer, Policy, Tenant, decide

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Room:
    """The memory there is: who holds some, how much all may, and who makes room for whom."""

    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    limit_bytes: int | None = None
    policy: Policy = "memory"

    @property
    def free_bytes(self) -> int | None:
        """What further instances may take; None for no limit."""
        if self.limit_bytes is None:
            return None
        return self.limit_bytes - sum_claims(it.claim for it in self.tenants.values())


def foresee_evictions(plan: Plan, desired: Desired, room: Room) -> Plan:
    """`plan`, each of its loads with whom it evicts, and with what it lacks where that is not
    enough. Actions are done in their order."""
    if room.limit_bytes is None:
        return plan
    models = {model.identifier: model for model in desired.models}
    tenants = dict(room.tenants)
    actions = []
    for action in plan.actions:
        if action.kind == "Unload":
            tenants.pop(action.target, None)
        elif action.kind in ("Load", "Reload"):
            action = _admit(action, models[action.target], tenants, room)
        actions.append(action)
    return replace(plan, actions=tuple(actions))


def _admit(action: Action, model: DesiredModel, tenants: dict[str, Tenant], room: Room) -> Action:
    """The action with what its admission costs; `tenants` become those after it."""
    if model.claim is None or room.limit_bytes is None:
        return action
    newcomer = Newcomer(action.target, model.claim, is_jit=False)
    # One that comes beside its former version has its place already, and lets nobody leave.
    decision = decide(newcomer, tenants, room.limit_bytes, room.policy)
    for victim in decision.victims:
        tenants.pop(victim, None)
    tenants[action.target] = Tenant(model.claim, 0.0, is_evictable=False, is_busy=False)
    if decision.missing_bytes and action.problem is None:
        missing = decision.missing_bytes / _MIB
        return replace(action, problem=f"It needs {missing:.0f} MiB more than can be made free.")
    return replace(action, evicts=decision.victims)
