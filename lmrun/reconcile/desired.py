"""What should be: a profile's models, each with the file it means. It knows nothing that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lmrun.catalog.catalog import LocatedModel
from lmrun.engines.registry import choose_engine
from lmrun.errors import LmrunError
from lmrun.profile.effective import effective_prediction, system_prompt
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import ModelConfig, Profile, ServerConfig
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig
from lmrun.settings.sources import Source, parse_source


class ModelFinder(Protocol):
    """The part of the catalog that only looks."""

    def locate(self, source: Source) -> LocatedModel | None: ...

    def estimate_memory(self, path: Path, load: LoadConfig) -> int: ...


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """A declared model. `spec` is None while its file must be fetched, or when `error` says why
    it cannot be had. `memory_bytes` is the estimate for `spec`, 0 without one."""

    key: str
    config: ModelConfig
    source: Source | None
    spec: InstanceSpec | None
    memory_bytes: int = 0
    error: LmrunError | None = None

    @property
    def identifier(self) -> str:
        return self.config.identifier or self.key

    def is_same_wish(self, other: DesiredModel) -> bool:
        """Declared alike; whether the file has been fetched meanwhile does not matter."""
        return (self.key, self.config, self.source) == (other.key, other.config, other.source)


@dataclass(frozen=True, slots=True)
class Desired:
    """A profile, ready to be compared with what is."""

    server: ServerConfig
    models: tuple[DesiredModel, ...]

    def model(self, key: str | None) -> DesiredModel | None:
        return next((model for model in self.models if model.key == key), None)


def read_desired(loaded: LoadedProfile, finder: ModelFinder) -> Desired:
    """Look up every model's file. A model that cannot be had carries its error; none is raised."""
    models = tuple(
        _read_model(loaded.profile, key, loaded.base_dirs, finder)
        for key in sorted(loaded.profile.models)
    )
    return Desired(server=loaded.profile.server, models=models)


def _read_model(
    profile: Profile, key: str, base_dirs: Mapping[str, Path], finder: ModelFinder
) -> DesiredModel:
    config = profile.models[key]
    try:
        source = parse_source(config.source, base_dirs[key])
    except LmrunError as error:
        return DesiredModel(key=key, config=config, source=None, spec=None, error=error)
    try:
        located = finder.locate(source)
        if located is None:
            return DesiredModel(key=key, config=config, source=source, spec=None)
        spec = make_spec(profile, key, located)
        memory = finder.estimate_memory(located.path, config.load)
        return DesiredModel(key=key, config=config, source=source, spec=spec, memory_bytes=memory)
    except LmrunError as error:
        return DesiredModel(key=key, config=config, source=source, spec=None, error=error)


def make_spec(profile: Profile, key: str, located: LocatedModel) -> InstanceSpec:
    """The instance that `profile` wants of model `key`, given its file."""
    config = profile.models[key]
    return InstanceSpec(
        identifier=config.identifier or key,
        model_key=key,
        engine=choose_engine(located.path),
        path=located.path,
        size=located.size,
        mtime_ns=located.mtime_ns,
        load=config.load,
        prediction=effective_prediction(profile, key),
        system_prompt=system_prompt(profile, key),
    )
