"""What differs from the profile because somebody changed it by hand, field by field.

Pure: desired and observed in, drift out. It knows neither files nor what is done about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmrun.profile.effective import instance_configs
from lmrun.profile.schema import ModelConfig, Profile
from lmrun.profile.text.nodes import Path, format_path
from lmrun.reconcile.drift.ownership import HandChange
from lmrun.reconcile.plan import ObservedInstance
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.base import Settings

_STATE = "`state` is that of all the model's `instances`"
_TTL = "it was loaded with a TTL: it is not meant to stay"
_IDENTIFIER = "the model has an `identifier`; one in `instances` instead leaves room for others"


@dataclass(frozen=True, slots=True)
class Drift:
    """One field of the profile that an instance does not follow. `identifier`: the instance.

    `desired`, `observed`: plain data, as a profile has it. `obstacle`: why the observed value
    cannot be written into the profile as this field's.
    """

    path: Path
    identifier: str
    change: HandChange
    desired: Any
    observed: Any
    obstacle: str | None = None

    @property
    def field(self) -> str:
        return format_path(self.path)


def find_drift(
    profile: Profile, observed: Iterable[ObservedInstance], changes: Mapping[str, HandChange]
) -> tuple[Drift, ...]:
    """The drift of every instance that was changed by hand, by identifier.

    `observed`: the instances there are; one that is loading counts as loaded.
    """
    instances = {it.spec.identifier: it for it in observed}
    declared = dict(_list_declared(profile))
    found: list[Drift] = []
    for identifier, change in sorted(changes.items()):
        instance, wanted = instances.get(identifier), declared.get(identifier)
        if wanted is not None:
            unloaded = "on_demand" if profile.server.jit.enabled else "absent"
            found += _in_state(identifier, wanted, instance, change, unloaded)
            found += _in_settings(identifier, wanted, instance, change)
        elif instance is not None:
            model = profile.models.get(instance.spec.model_key)
            found += [_of_another(instance.spec, model, change)] if model is not None else []
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Declared:
    """An instance that the profile declares, at `place`; `model` is its model's."""

    config: ModelConfig
    model: Path
    place: Path


def _list_declared(profile: Profile) -> Iterator[tuple[str, _Declared]]:
    """By identifier."""
    for key, model in profile.models.items():
        above: Path = ("models", key)
        for number, config in enumerate(instance_configs(model)):
            place: Path = (*above, "instances", number) if model.instances else above
            yield config.identifier or key, _Declared(config, above, place)


def _in_state(
    identifier: str,
    wanted: _Declared,
    instance: ObservedInstance | None,
    change: HandChange,
    unloaded: str,
) -> Iterator[Drift]:
    """`unloaded`: the state of what is not loaded, but declared."""
    state = wanted.config.state
    path, obstacle = (*wanted.model, "state"), None if wanted.place == wanted.model else _STATE
    if instance is None:
        if state == "loaded":
            yield Drift(path, identifier, change, state, unloaded, obstacle)
    elif state == "absent" or (state == "on_demand" and instance.spec.residency.origin == "hand"):
        if instance.spec.residency.asked_ttl_s is not None:
            obstacle = _TTL
        yield Drift(path, identifier, change, state, "loaded", obstacle)


def _in_settings(
    identifier: str, wanted: _Declared, instance: ObservedInstance | None, change: HandChange
) -> Iterator[Drift]:
    if instance is not None:
        for leaf, old, new in compare(wanted.config.load, instance.spec.load):
            yield Drift((*wanted.place, "load", *leaf), identifier, change, old, new)


def _of_another(spec: InstanceSpec, model: ModelConfig, change: HandChange) -> Drift:
    """One more instance of a model than is declared."""
    entry: dict[str, Any] = {"identifier": spec.identifier}
    load = _to_tree((path, new) for path, _, new in compare(model.load, spec.load))
    entry |= {"load": load} if load else {}
    path: Path = ("models", spec.model_key, "instances")
    if model.instances:
        place, value = (*path, len(model.instances)), entry
        return Drift(place, spec.identifier, change, None, value, _not_loaded(model))
    both = [{"identifier": model.identifier or spec.model_key}, entry]
    obstacle = _IDENTIFIER if model.identifier else _not_loaded(model)
    return Drift(path, spec.identifier, change, None, both, obstacle)


def _not_loaded(model: ModelConfig) -> str | None:
    return _STATE if model.state == "absent" else None


def _to_tree(leaves: Iterable[tuple[Path, Any]]) -> dict[Any, Any]:
    tree: dict[Any, Any] = {}
    for path, value in leaves:
        at = tree
        for part in path[:-1]:
            at = at.setdefault(part, {})
        at[path[-1]] = value
    return tree


def compare(desired: Settings, observed: Settings) -> Iterator[tuple[Path, Any, Any]]:
    """The leaves that differ: path, desired and observed value as plain data."""
    wanted, found = desired.model_dump(mode="json"), observed.model_dump(mode="json")
    for name in type(desired).model_fields:
        before, after = getattr(desired, name), getattr(observed, name)
        if before == after:
            continue
        if isinstance(before, Settings) and isinstance(after, Settings):
            inner = compare(before, after)
            yield from (((name, *path), old, new) for path, old, new in inner)
        else:
            old, new = (
                to_data(it) if isinstance(it, Settings) else dump[name]
                for it, dump in ((before, wanted), (after, found))
            )
            yield (name,), old, new


def to_data(settings: Settings) -> dict[str, Any]:
    """What was chosen, as a profile has it."""
    return settings.model_dump(mode="json", exclude_unset=True)
