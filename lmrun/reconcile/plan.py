"""Desired against observed → actions, each with its reasons and its price. Pure: the same values
give the same plan, always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from lmrun.profile.schema import ServerConfig
from lmrun.profile.tooling.section import Tooling
from lmrun.reconcile.desired import Desired, DesiredModel
from lmrun.reconcile.differences import (
    compare_instance,
    compare_servers,
    compare_tooling,
    to_changes,
)
from lmrun.reconcile.outcome import Action, FieldChange, MemoryPrice, Plan, Way
from lmrun.reconcile.status import InstanceState
from lmrun.runtime.spec import InstanceSpec

SERVER = "server"
"""Target of an Update of the server's hot settings."""
TOOLS = "tools"
"""Target of an Update of tools, MCP servers, agents and their policy."""


@dataclass(frozen=True, slots=True)
class ObservedInstance:
    """What one instance is. `in_flight`: requests that use it or wait for it now; `clients`: the
    names of their API keys. `memory_bytes`: what it holds, as far as that is known."""

    spec: InstanceSpec
    state: InstanceState
    in_flight: int = 0
    memory_bytes: int = 0
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """What is. `server`: the config that the open listener serves by, None while it is closed.
    `free_bytes`: how much memory further instances may take, None for no limit. `tooling`: by
    which tools are run."""

    server: ServerConfig | None = None
    instances: tuple[ObservedInstance, ...] = ()
    free_bytes: int | None = None
    tooling: Tooling = field(default_factory=Tooling)


def make_plan(desired: Desired | None, observed: Observed, base_generation: int) -> Plan:
    """What has to happen so that `observed` becomes `desired`; None wants nothing loaded.

    Order: the listener, what frees memory, what costs nothing, what takes memory.
    """
    if desired is None:
        return Plan(base_generation, tuple(_unload(it) for it in observed.instances))
    existing = {instance.spec.identifier: instance for instance in observed.instances}
    declared = {model.identifier: model for model in desired.models}
    changes = [
        action
        for name in sorted(existing.keys() | declared.keys())
        if (action := _choose(declared.get(name), existing.get(name), observed)) is not None
    ]
    rank = {"Unload": 0, "Update": 1, "Reload": 2, "Load": 3}
    changes.sort(key=lambda action: rank[action.kind])
    tools = _plan_tools(desired.tooling, observed.tooling)
    actions = (*_plan_server(desired.server, observed.server), *tools, *changes)
    return Plan(base_generation, actions, _price_memory(actions, observed))


def choose_way(wished: Way, model: DesiredModel, old: InstanceSpec, free_bytes: int | None) -> Way:
    """How to replace an instance: as wished, unless memory does not hold both versions.

    Weights that both map are there once.
    """
    if wished == "recreate" or free_bytes is None or model.estimate is None:
        return wished
    assert model.spec is not None, "it has an estimate"
    is_shared = model.spec.path == old.path and model.spec.load.try_mmap and old.load.try_mmap
    shared = model.estimate.weights if is_shared else 0
    return "blue_green" if model.memory_bytes - shared <= free_bytes else "recreate"


def _choose(
    model: DesiredModel | None, instance: ObservedInstance | None, observed: Observed
) -> Action | None:
    """What has to happen with one instance, by what its model's state is."""
    state = model.config.state if model is not None else "absent"
    if model is not None and state == "loaded":
        return _converge(model, instance, observed)
    if instance is None:
        return None
    if model is None or state == "absent":
        return _unload(instance)
    return _keep(model, instance, observed)


def _keep(model: DesiredModel, instance: ObservedInstance, observed: Observed) -> Action | None:
    """An instance that a request has loaded may stay. One that is not as it should be any more is
    replaced while somebody uses it; else the next request will load it as it should be."""
    if instance.state == "stopped":
        return None
    if instance.state == "failed":
        return _unload(instance)
    action = _converge(model, instance, observed)
    if action is None or action.kind != "Reload" or instance.in_flight:
        return action
    return replace(_unload(instance), changes=action.changes)


def _plan_server(desired: ServerConfig, observed: ServerConfig | None) -> tuple[Action, ...]:
    address = f"{desired.host}:{desired.port}"
    if observed is None:
        change = FieldChange("server", None, address)
        return (Action("Listen", address, None, (change,)),)
    differences = compare_servers(observed, desired)
    if not differences:
        return ()
    changes = to_changes(differences)
    if any(difference.effect == "Listen" for difference in differences):
        return (Action("Listen", address, None, changes),)
    return (Action("Update", SERVER, None, changes),)


def _plan_tools(desired: Tooling, observed: Tooling) -> tuple[Action, ...]:
    if desired == observed:
        return ()
    return (Action("Update", TOOLS, None, to_changes(compare_tooling(observed, desired))),)


def _unload(instance: ObservedInstance) -> Action:
    spec = instance.spec
    change = FieldChange(f"models.{spec.model_key}", instance.state, None)
    return Action(
        "Unload",
        spec.identifier,
        spec.model_key,
        (change,),
        memory_bytes=-instance.memory_bytes,
        streams=instance.in_flight,
        clients=instance.clients,
    )


def _converge(
    model: DesiredModel, instance: ObservedInstance | None, observed: Observed
) -> Action | None:
    if instance is None:
        change = FieldChange(f"models.{model.key}.state", None, "loaded")
        return _load(model, (change,))
    if instance.state in ("failed", "stopped"):
        change = FieldChange(f"models.{model.key}.state", instance.state, "loaded")
        return _load(model, (change,))
    differences = compare_instance(model, instance.spec)
    if any(difference.effect == "Reload" for difference in differences):
        # A new version brings changed defaults along.
        changes = to_changes(it for it in differences if it.effect == "Reload")
        return _reload(model, instance, changes, observed.free_bytes)
    if not differences:
        return None
    return Action("Update", model.identifier, model.key, to_changes(differences))


def _load(model: DesiredModel, changes: tuple[FieldChange, ...]) -> Action:
    return Action(
        "Load",
        model.identifier,
        model.key,
        changes,
        fetch_bytes=_fetch_bytes(model),
        memory_bytes=model.memory_bytes,
        seconds=model.load_s,
        problem=_problem(model),
    )


def _reload(
    model: DesiredModel,
    instance: ObservedInstance,
    changes: tuple[FieldChange, ...],
    free_bytes: int | None,
) -> Action:
    return Action(
        "Reload",
        model.identifier,
        model.key,
        changes,
        fetch_bytes=_fetch_bytes(model),
        memory_bytes=model.memory_bytes - instance.memory_bytes,
        seconds=model.load_s,
        streams=instance.in_flight,
        clients=instance.clients,
        problem=_problem(model),
        rollout=choose_way(model.config.rollout, model, instance.spec, free_bytes),
    )


def _problem(model: DesiredModel) -> str | None:
    return str(model.error) if model.error is not None else None


def _fetch_bytes(model: DesiredModel) -> int | None:
    """None: it has to be fetched, and how much is not known before the index is asked."""
    return 0 if model.spec is not None or model.error is not None else None


def _price_memory(actions: Sequence[Action], observed: Observed) -> MemoryPrice:
    """What all instances hold before and after, and at most meanwhile: actions that take memory
    are done one by one, after those that free some."""
    before = now = peak = sum(instance.memory_bytes for instance in observed.instances)
    held = {instance.spec.identifier: instance.memory_bytes for instance in observed.instances}
    for action in actions:
        both = held.get(action.target, 0) if action.rollout == "blue_green" else 0
        now += action.memory_bytes
        peak = max(peak, now + both)
    return MemoryPrice(before, now, peak, observed.free_bytes)
