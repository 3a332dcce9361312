"""What should be: a profile's models, each with the file it means. It knows nothing that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from lmrun.catalog.catalog import LocatedModel
from lmrun.catalog.memory import Estimate, LoadFiles
from lmrun.engines.registry import choose_engine
from lmrun.errors import LmrunError
from lmrun.profile.effective import (
    effective_prediction,
    instance_configs,
    prewarm,
    system_prompt,
)
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.residency import JitConfig
from lmrun.profile.schema import ModelConfig, Profile, ServerConfig
from lmrun.profile.tooling.section import Tooling, read_tooling
from lmrun.runtime.residency.claims import Claim
from lmrun.runtime.residency.residency import DECLARED, Residency
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig
from lmrun.settings.sources import Source, parse_source


class ModelFinder(Protocol):
    """The part of the catalog that only looks."""

    def locate(self, source: Source) -> LocatedModel | None: ...

    def estimate_memory(self, files: LoadFiles, load: LoadConfig, *, strict: bool) -> Estimate: ...


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """One instance of a declared model; `config` is the model's as far as it concerns this one.
    `spec` is None while a file of it must be fetched, or when `error` says why one cannot be had.
    `attachments`: the sources of its other files, in the order of `attached_sources`. `residency`:
    why it is in memory when it is. `memory_bytes` is the most that `spec` may take by its
    `estimate`, 0 without one. `load_s`: how long its load took the last time, None when that is
    not known. `claim`: the memory that it takes, None when that has not been asked."""

    key: str
    config: ModelConfig
    source: Source | None
    spec: InstanceSpec | None
    memory_bytes: int = 0
    error: LmrunError | None = None
    attachments: tuple[Source, ...] = ()
    estimate: Estimate | None = None
    load_s: float | None = None
    claim: Claim | None = None
    residency: Residency = DECLARED

    @property
    def identifier(self) -> str:
        return self.config.identifier or self.key

    def is_same_wish(self, other: DesiredModel) -> bool:
        """Declared alike; whether the file has been fetched meanwhile does not matter."""
        mine = (self.key, self.config, self.source, self.attachments)
        return mine == (other.key, other.config, other.source, other.attachments)


@dataclass(frozen=True, slots=True)
class Desired:
    """A profile, ready to be compared with what is."""

    server: ServerConfig
    models: tuple[DesiredModel, ...]
    tooling: Tooling = field(default_factory=Tooling)

    def model(self, key: str | None) -> DesiredModel | None:
        return next((model for model in self.models if model.key == key), None)


def read_desired(loaded: LoadedProfile, finder: ModelFinder) -> Desired:
    """Look up every model's files. A model that cannot be had carries its error; none is raised."""
    models = tuple(
        _read_model(loaded, key, number, config, finder)
        for key in sorted(loaded.profile.models)
        for number, config in enumerate(instance_configs(loaded.profile.models[key]))
    )
    return Desired(loaded.profile.server, models, read_tooling(loaded))


def _read_model(
    loaded: LoadedProfile, key: str, number: int, config: ModelConfig, finder: ModelFinder
) -> DesiredModel:
    residency = find_residency(config, loaded.profile.server.jit)
    model = DesiredModel(key=key, config=config, source=None, spec=None, residency=residency)
    try:
        source = parse_source(model.config.source, loaded.base_dirs[key])
        folders = _attachment_folders(loaded, key, number)
        attachments = attached_sources(model.config.load, folders)
        model = replace(model, source=source, attachments=attachments)
        located = [finder.locate(it) for it in (source, *attachments)]
        found = [it for it in located if it is not None]
        if len(found) < len(located):
            return model
        spec = make_spec(loaded.profile, model, found)
        estimate = estimate_memory(finder, spec)
        return replace(model, spec=spec, memory_bytes=estimate.total, estimate=estimate)
    except LmrunError as error:
        return replace(model, error=error)


def _attachment_folders(loaded: LoadedProfile, key: str, number: int) -> dict[str, Path]:
    """What a `file:` source is relative to, by field: where the model or its instance says it."""
    folders = dict(loaded.attachment_dirs.get(key, {}))
    instances = loaded.profile.models[key].instances
    if instances:
        own = instances[number].load.model_fields_set
        folders |= {name: folders["instances"] for name in own if "instances" in folders}
    return folders


def find_residency(config: ModelConfig, jit: JitConfig) -> Residency:
    """Why the profile has this model in memory, when it is there."""
    if config.state == "loaded":
        return DECLARED
    return Residency("jit", ttl_s=config.ttl or jit.ttl, is_pinned=config.pinned)


def attached_sources(load: LoadConfig, folders: Mapping[str, Path]) -> tuple[Source, ...]:
    """Where a load's other files come from: its adapters, its projector, its draft model.

    `folders`: what a `file:` source is relative to, by field. Raises SourceInvalid.
    """
    given = [("adapters", adapter.source) for adapter in load.adapters]
    given += [("mmproj", load.mmproj)] if load.mmproj else []
    given += [("draft_model", load.draft_model)] if load.draft_model else []
    return tuple(parse_source(text, folders.get(name, Path("/"))) for name, text in given)


def make_spec(
    profile: Profile, wanted: DesiredModel, located: Sequence[LocatedModel]
) -> InstanceSpec:
    """The instance that `profile` wants of a model, given its file and then the attached ones, in
    the order of `attached_sources`."""
    config, key = wanted.config, wanted.key
    model, *others = located
    rest = iter(others)
    return InstanceSpec(
        identifier=wanted.identifier,
        model_key=key,
        engine=choose_engine(model.path),
        path=model.path,
        size=model.size,
        mtime_ns=model.mtime_ns,
        load=config.load,
        prediction=effective_prediction(profile, key),
        system_prompt=system_prompt(profile, key),
        adapters=tuple(next(rest) for _ in config.load.adapters),
        mmproj=next(rest) if config.load.mmproj else None,
        draft_model=next(rest) if config.load.draft_model else None,
        prewarm=prewarm(profile, key),
        prompt_template=config.prompt_template,
        residency=wanted.residency,
    )


def estimate_memory(finder: ModelFinder, spec: InstanceSpec) -> Estimate:
    """What an instance will take. Raises ModelInvalid for a bad file."""
    files = LoadFiles(
        model=spec.path,
        adapters=tuple(file.path for file in spec.adapters),
        mmproj=spec.mmproj.path if spec.mmproj else None,
        draft_model=spec.draft_model.path if spec.draft_model else None,
    )
    is_strict = spec.prediction.deterministic == "strict"
    return finder.estimate_memory(files, spec.load, strict=is_strict)
