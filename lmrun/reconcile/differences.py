"""Field by field: how what is differs from what should be, and what each difference costs. Pure.

The cost is the profile's own word for each field; this only finds which fields differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from lmrun.profile.schema import ServerConfig
from lmrun.profile.shape import find_effect
from lmrun.profile.text import nodes
from lmrun.profile.tooling.section import Tooling
from lmrun.reconcile.desired import DesiredModel
from lmrun.reconcile.outcome import FieldChange
from lmrun.runtime.residency.residency import Residency
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.base import Settings
from lmrun.settings.effects import Effect
from lmrun.settings.prompt_template import PromptTemplate

Path = tuple[str, ...]


class _Written(NamedTuple):
    """What two profiles say where they have references, by the field."""

    before: Mapping[nodes.Path, str]
    after: Mapping[nodes.Path, str]


_NOTHING_WRITTEN = _Written({}, {})


@dataclass(frozen=True, slots=True)
class Difference:
    """`path`: the field's place in the profile. The values are shown as one line of YAML."""

    path: Path
    old: str | None
    new: str | None

    @property
    def effect(self) -> Effect:
        return find_effect(*self.path)

    @property
    def change(self) -> FieldChange:
        return FieldChange(".".join(self.path), self.old, self.new)


def to_changes(differences: Iterable[Difference]) -> tuple[FieldChange, ...]:
    return tuple(difference.change for difference in differences)


def compare_servers(observed: ServerConfig, desired: ServerConfig) -> tuple[Difference, ...]:
    """Between the settings that a listener serves by and those it should."""
    return tuple(_compare(("server",), observed, desired))


def compare_tooling(observed: Tooling, desired: Tooling) -> tuple[Difference, ...]:
    """Between what tools are run by and what they should be. Several fields of one tool, server or
    agent are told one by one; one that comes or goes is told as a whole."""
    written = _Written(observed.written, desired.written)
    return (
        *_compare_named("tools", observed.tools, desired.tools, written),
        *_compare_dirs("tools", observed.tool_dirs, desired.tool_dirs),
        *_compare_named("mcp_servers", observed.mcp_servers, desired.mcp_servers, written),
        *_compare_dirs("mcp_servers", observed.mcp_dirs, desired.mcp_dirs),
        *_compare_roots(observed.root, desired.root),
        *_compare_named("presets", observed.presets, desired.presets, written),
        *_compare_named("agents", observed.agents, desired.agents, written),
        *_compare(("policy",), observed.policy, desired.policy, written),
    )


def _compare_named(
    section: str, old: Mapping[str, Settings], new: Mapping[str, Settings], written: _Written
) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before is not None and after is not None:
            yield from _compare((section, name), before, after, written)
        else:
            yield _leaf((section, name), before, after, written)


def _compare_dirs(
    section: str, old: Mapping[str, FilePath], new: Mapping[str, FilePath]
) -> Iterator[Difference]:
    """Declared in another directory, which its paths are relative to."""
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield Difference((section, name), f"in {old[name]}", f"in {new[name]}")


def _compare_roots(old: FilePath | None, new: FilePath | None) -> Iterator[Difference]:
    """Another profile that declares MCP servers; those of a first one, or of none, are told."""
    if old is not None and new is not None and old != new:
        yield Difference(("mcp_servers",), f"of {old}", f"of {new}")


def compare_instance(model: DesiredModel, observed: InstanceSpec) -> tuple[Difference, ...]:
    """Between an instance and what the profile wants of it; nothing for what it does not fix."""
    prefix = ("models", model.key)
    load = model.config.load if model.spec is None else model.spec.load
    found = [*_compare((*prefix, "load"), observed.load, load)]
    found += _compare_templates(prefix, observed.prompt_template, model.config.prompt_template)
    if model.spec is None:
        found.append(Difference((*prefix, "source"), str(observed.path), model.config.source))
        return tuple(found)
    found += _compare_files(prefix, observed, model.spec)
    if all(difference.effect != "Reload" for difference in found):
        found += _compare_attachments(prefix, observed, model.spec)
    found += _compare_defaults(model, model.spec, observed)
    found += _compare_residencies(prefix, observed.residency, model)
    return tuple(found)


def _compare_templates(
    prefix: Path, old: PromptTemplate | None, new: PromptTemplate | None
) -> Iterator[Difference]:
    """By their names: a template is too long to be shown."""
    if old != new:
        shown = [None if it is None else str(it) for it in (old, new)]
        yield Difference((*prefix, "prompt_template"), *shown)


def _compare_files(prefix: Path, old: InstanceSpec, new: InstanceSpec) -> Iterator[Difference]:
    if new.model_key != old.model_key:
        yield Difference((*prefix, "source"), f"of model {old.model_key}", f"of {new.model_key}")
    if new.path != old.path:
        yield Difference((*prefix, "source"), str(old.path), str(new.path))
    elif (new.size, new.mtime_ns) != (old.size, old.mtime_ns):
        yield _moved((*prefix, "source"))


def _compare_attachments(
    prefix: Path, old: InstanceSpec, new: InstanceSpec
) -> Iterator[Difference]:
    """Files beside the model that are others than they were, though declared as they were."""
    for field, file in new.attached.items():
        if old.attached.get(field) != file:
            yield _moved((*prefix, *field.split(".")))


def _moved(path: Path) -> Difference:
    return Difference(path, "file as it was loaded", "file as it is now")


def _compare_defaults(
    model: DesiredModel, wanted: InstanceSpec, observed: InstanceSpec
) -> Iterator[Difference]:
    """What requests get where they do not say otherwise, named by the preset that sets it."""
    preset = model.config.preset
    prefix = ("presets", preset) if preset else ("models", model.key, "preset")
    for difference in _compare((*prefix, "prediction"), observed.prediction, wanted.prediction):
        # The model's own seed is told as its load setting.
        if not (difference.path[-1] == "seed" and observed.load.seed != wanted.load.seed):
            yield difference
    if observed.system_prompt != wanted.system_prompt:
        old, new = show_value(observed.system_prompt), show_value(wanted.system_prompt)
        yield Difference((*prefix, "system_prompt"), old, new)
    if observed.prewarm != wanted.prewarm:
        yield _leaf(("models", model.key, "prewarm"), observed.prewarm, wanted.prewarm)


def _compare_residencies(prefix: Path, old: Residency, model: DesiredModel) -> Iterator[Difference]:
    """Why it is in memory, and for how long. What a client has loaded by hand stays his, as long as
    the profile does not want it loaded by itself."""
    new = model.residency
    if old.origin == "hand" and new.origin == "jit":
        return
    if old.origin != new.origin:
        states = {"declared": "loaded", "jit": "on_demand", "hand": "loaded by hand"}
        yield Difference((*prefix, "state"), states[old.origin], states[new.origin])
    elif new.origin == "jit":
        for name, before, after in (
            ("ttl", old.ttl_s, new.ttl_s),
            ("pinned", old.is_pinned, new.is_pinned),
        ):
            if before != after:
                yield _leaf((*prefix, name), before, after)


def _compare(
    path: Path, old: Settings, new: Settings, written: _Written = _NOTHING_WRITTEN
) -> Iterator[Difference]:
    """One difference per leaf, in the order of declaration."""
    for name in type(new).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if isinstance(before, Settings) and isinstance(after, Settings):
            yield from _compare((*path, name), before, after, written)
        else:
            yield _leaf((*path, name), before, after, written)


def _leaf(path: Path, before: Any, after: Any, written: _Written = _NOTHING_WRITTEN) -> Difference:
    old = show_value(_as_written(before, path, written.before))
    new = show_value(_as_written(after, path, written.after))
    return Difference(path, old, f"{new} (a secret in it changed)" if old == new else new)


def _as_written(value: Any, path: nodes.Path, written: Mapping[nodes.Path, str]) -> Any:
    """`value` with every reference in it unresolved: what it names may be a secret."""
    if not any(it[: len(path)] == path for it in written):
        return value
    if path in written:
        return written[path]
    if isinstance(value, Settings):
        value = value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: _as_written(it, (*path, key), written) for key, it in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_written(it, (*path, index), written) for index, it in enumerate(value)]
    return value


def show_value(value: Any) -> str | None:
    """A setting as one line of YAML; secrets stay hidden."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Settings):
        return json.dumps(value.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)
    if isinstance(value, tuple):
        return "[" + ", ".join(show_value(item) or "null" for item in value) + "]"
    return json.dumps(value, ensure_ascii=False, default=lambda _: "***")
