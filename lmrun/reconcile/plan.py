"""Desired against observed → actions. Pure: the same values give the same plan, always."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lmrun.profile.schema import ServerConfig
from lmrun.reconcile.desired import Desired, DesiredModel
from lmrun.reconcile.outcome import Action, FieldChange, Plan
from lmrun.reconcile.status import InstanceState
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.base import Settings
from lmrun.settings.prompt_template import PromptTemplate

SERVER = "server"
"""Target of an Update of the server's hot settings."""


@dataclass(frozen=True, slots=True)
class ObservedInstance:
    """What one instance is. `in_flight`: generations that it runs or has queued now."""

    spec: InstanceSpec
    state: InstanceState
    in_flight: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What is. `server`: the config that the open listener serves by, None while it is closed."""

    server: ServerConfig | None = None
    instances: tuple[ObservedInstance, ...] = ()


def make_plan(desired: Desired | None, observed: Observed, base_generation: int) -> Plan:
    """What has to happen so that `observed` becomes `desired`; None wants nothing loaded.

    Order: the listener, what frees memory, what costs nothing, what takes memory.
    """
    if desired is None:
        return Plan(base_generation, tuple(_unload(it) for it in observed.instances))
    wanted = {model.identifier: model for model in desired.models if model.config.state == "loaded"}
    existing = {instance.spec.identifier: instance for instance in observed.instances}
    unloads = [_unload(existing[name]) for name in sorted(existing.keys() - wanted.keys())]
    changes = [
        action
        for name in sorted(wanted)
        if (action := _converge(wanted[name], existing.get(name))) is not None
    ]
    rank = {"Update": 0, "Reload": 1, "Load": 2}
    changes.sort(key=lambda action: rank[action.kind])
    return Plan(
        base_generation, (*_plan_server(desired.server, observed.server), *unloads, *changes)
    )


def _plan_server(desired: ServerConfig, observed: ServerConfig | None) -> tuple[Action, ...]:
    address = f"{desired.host}:{desired.port}"
    if observed is None:
        change = FieldChange("server", None, address)
        return (Action("Listen", address, None, (change,)),)
    changes = _settings_changes("server", observed, desired)
    if not changes:
        return ()
    if (observed.host, observed.port) != (desired.host, desired.port):
        return (Action("Listen", address, None, changes),)
    return (Action("Update", SERVER, None, changes),)


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
    )


def _converge(model: DesiredModel, instance: ObservedInstance | None) -> Action | None:
    if instance is None:
        change = FieldChange(f"models.{model.key}.state", None, "loaded")
        return _load(model, (change,))
    if instance.state in ("failed", "stopped"):
        change = FieldChange(f"models.{model.key}.state", instance.state, "loaded")
        return _load(model, (change,))
    reload_changes = _reload_changes(model, instance.spec)
    if reload_changes:
        return Action(
            "Reload",
            model.identifier,
            model.key,
            reload_changes,
            fetch_bytes=_fetch_bytes(model),
            memory_bytes=model.memory_bytes - instance.memory_bytes,
            streams=instance.in_flight,
            problem=_problem(model),
        )
    updates = _update_changes(model, instance.spec)
    return Action("Update", model.identifier, model.key, updates) if updates else None


def _load(model: DesiredModel, changes: tuple[FieldChange, ...]) -> Action:
    return Action(
        "Load",
        model.identifier,
        model.key,
        changes,
        fetch_bytes=_fetch_bytes(model),
        memory_bytes=model.memory_bytes,
        problem=_problem(model),
    )


def _problem(model: DesiredModel) -> str | None:
    return str(model.error) if model.error is not None else None


def _fetch_bytes(model: DesiredModel) -> int | None:
    """None: it has to be fetched, and how much is not known before the index is asked."""
    return 0 if model.spec is not None or model.error is not None else None


def _reload_changes(model: DesiredModel, observed: InstanceSpec) -> tuple[FieldChange, ...]:
    prefix = f"models.{model.key}"
    changes = _settings_changes(f"{prefix}.load", observed.load, model.config.load)
    changes += _template_change(prefix, observed.prompt_template, model.config.prompt_template)
    if model.spec is None:
        return (*changes, FieldChange(f"{prefix}.source", str(observed.path), model.config.source))
    if model.spec.model_key != observed.model_key:
        changes += (FieldChange(f"{prefix}.identifier", observed.model_key, model.key),)
    if model.spec.path != observed.path:
        changes += (FieldChange(f"{prefix}.source", str(observed.path), str(model.spec.path)),)
    elif (model.spec.size, model.spec.mtime_ns) != (observed.size, observed.mtime_ns):
        changes += (_moved(f"{prefix}.source"),)
    return changes or _attachment_changes(prefix, observed, model.spec)


def _template_change(
    prefix: str, old: PromptTemplate | None, new: PromptTemplate | None
) -> tuple[FieldChange, ...]:
    """By their names: a template is too long to be shown."""
    if old == new:
        return ()
    shown = [None if it is None else str(it) for it in (old, new)]
    return (FieldChange(f"{prefix}.prompt_template", *shown),)


def _attachment_changes(
    prefix: str, old: InstanceSpec, new: InstanceSpec
) -> tuple[FieldChange, ...]:
    """Files beside the model that are others than they were, though declared as they were."""
    return tuple(
        _moved(f"{prefix}.{field}")
        for field, file in new.attached.items()
        if old.attached.get(field) != file
    )


def _moved(field: str) -> FieldChange:
    return FieldChange(field, "file as it was loaded", "file as it is now")


def _update_changes(model: DesiredModel, observed: InstanceSpec) -> tuple[FieldChange, ...]:
    """The hot fields, named by the preset that sets them."""
    if model.spec is None:
        return ()
    preset = model.config.preset
    prefix = f"presets.{preset}" if preset else f"models.{model.key}.preset"
    changes = _settings_changes(f"{prefix}.prediction", observed.prediction, model.spec.prediction)
    if observed.system_prompt != model.spec.system_prompt:
        old, new = show_value(observed.system_prompt), show_value(model.spec.system_prompt)
        changes += (FieldChange(f"{prefix}.system_prompt", old, new),)
    if observed.prewarm != model.spec.prewarm:
        field = f"models.{model.key}.prewarm"
        changes += (_leaf_change(field, observed.prewarm, model.spec.prewarm),)
    return changes


def _settings_changes(path: str, old: Settings, new: Settings) -> tuple[FieldChange, ...]:
    """One change per leaf that differs, in the order of declaration."""
    changes: tuple[FieldChange, ...] = ()
    for name in type(new).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if isinstance(before, Settings) and isinstance(after, Settings):
            changes += _settings_changes(f"{path}.{name}", before, after)
        else:
            changes += (_leaf_change(f"{path}.{name}", before, after),)
    return changes


def _leaf_change(field: str, before: Any, after: Any) -> FieldChange:
    old, new = show_value(before), show_value(after)
    return FieldChange(field, old, f"{new} (a secret in it changed)" if old == new else new)


def show_value(value: Any) -> str | None:
    """A setting as one line of YAML; secrets stay hidden."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Settings):
        return json.dumps(value.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)
    if isinstance(value, tuple):
        return "[" + ", ".join(show_value(item) or "null" for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
