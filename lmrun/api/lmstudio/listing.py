"""Declared models and their instances, put together for lists. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmrun.api.serving import Instance
from lmrun.reconcile.declared import DeclaredModel


@dataclass(frozen=True, slots=True)
class Listed:
    """A declared model and those of its instances that answer requests, by identifier."""

    model: DeclaredModel
    instances: tuple[Instance, ...]


def list_models(
    models: Sequence[DeclaredModel], instances: Mapping[str, Instance]
) -> tuple[Listed, ...]:
    """Every model that can be loaded, with what is loaded of it now."""
    return tuple(
        Listed(
            model,
            tuple(
                instance
                for _, instance in sorted(instances.items())
                if instance.spec.model_key == model.key and instance.state == "ready"
            ),
        )
        for model in models
    )


def find_context_length(listed: Listed) -> int:
    """The most tokens that the model's file allows; of a script, which says nothing before it is
    loaded, what its instances have, else what the profile gives it, else 0."""
    file_says = listed.model.file.context_length
    if file_says is not None:
        return file_says
    known = [instance.info.context_length for instance in listed.instances if instance.info]
    return max(known, default=listed.model.load.context_length or 0)
