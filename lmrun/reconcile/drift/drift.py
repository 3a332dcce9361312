"""What differs from the profile because somebody changed it by hand, field by field.

Pure: desired and observed in, drift out. It knows neither files nor what is done about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmrun.profile.text.nodes import Path, format_path
from lmrun.reconcile.desired import Desired, DesiredModel
from lmrun.reconcile.drift.ownership import HandChange, HandChanges
from lmrun.reconcile.plan import ObservedInstance
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.base import Settings


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
    desired: Desired | None, observed: Mapping[str, ObservedInstance], changes: HandChanges
) -> tuple[Drift, ...]:
    """The drift of every instance that was changed by hand, by identifier.

    `observed`: the instances there are; one that is loading counts as loaded.
    """
    models = desired.models if desired is not None else ()
    declared = {model.identifier: model for model in models}
    found: list[Drift] = []
    for identifier in sorted(changes.identifiers):
        change, instance = changes.find(identifier), observed.get(identifier)
        model = declared.get(identifier)
        assert change is not None, "it is one of them"
        if model is not None:
            found += _of_declared(model, instance, change)
        elif instance is not None:
            found.append(_of_another(instance.spec, change))
    return tuple(found)


def _of_declared(
    model: DesiredModel, instance: ObservedInstance | None, change: HandChange
) -> Iterator[Drift]:
    prefix: Path = ("models", model.key)
    state = model.config.state
    if instance is None:
        if state == "loaded":
            yield Drift((*prefix, "state"), model.identifier, change, state, "absent")
        return
    if state == "absent":
        yield Drift((*prefix, "state"), model.identifier, change, state, "loaded")
    for path, wanted, found in compare(model.config.load, instance.spec.load):
        yield Drift((*prefix, "load", *path), model.identifier, change, wanted, found)


def _of_another(spec: InstanceSpec, change: HandChange) -> Drift:
    """One more instance of a model than is declared."""
    return Drift(
        ("models", spec.model_key, "instances"),
        spec.identifier,
        change,
        None,
        {"identifier": spec.identifier, "load": to_data(spec.load)},
        "one more instance than the profile declares; declare it in `instances`",
    )


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
