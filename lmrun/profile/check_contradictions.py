"""What checks say that the rest of the profile contradicts. It works on resolved data that may be
wrong elsewhere, and knows no text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from lmrun.profile.checks import Finding, suggest


def find_check_contradictions(data: Any) -> Iterator[Finding]:
    """Models that nobody declared or that are absent, golden files outside the profile's
    directory; values of a wrong type are passed over."""
    profile = _mapping(data)
    models = _mapping(profile.get("models"))
    owners = find_owners(models)
    for name, check in _mapping(profile.get("checks")).items():
        fault = _find_model_fault(_mapping(check).get("model"), owners, models)
        if fault is not None:
            yield Finding(("checks", name, "model"), fault)
        golden = _mapping(_mapping(check).get("expect")).get("golden")
        if isinstance(golden, str) and not is_below(golden):
            yield Finding(
                ("checks", name, "expect", "golden"),
                "must be below this profile's directory: a relative path without `..`",
            )


def is_below(path: str) -> bool:
    """Whether a path is relative and cannot leave the directory that it is joined to."""
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and bool(parts.name)


def _find_model_fault(name: Any, owners: dict[str, str], models: dict[str, Any]) -> str | None:
    if not isinstance(name, str):
        return None
    if name not in owners:
        hint = suggest(name, list(owners)) or "; this profile has no `models`"
        return f"no model has this key or identifier{hint}"
    if _mapping(models.get(owners[name])).get("state") == "absent":
        return "this model is `absent`; a check needs one that can be loaded"
    return None


def find_owners(models: dict[str, Any]) -> dict[str, str]:
    """Every name by which a request finds a model → the model's key."""
    owners = {key: key for key in models}
    for key, model in models.items():
        instances = _mapping(model).get("instances")
        named = [model, *(instances if isinstance(instances, list) else ())]
        identifiers = (_mapping(it).get("identifier") for it in named)
        owners |= {name: key for name in identifiers if isinstance(name, str)}
    return owners


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
