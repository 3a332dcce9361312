"""The models of the accepted profile: what their files say, loading and unloading by hand.

What becomes of what a client loads or unloads is up to the profile's `drift`. It knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, Protocol

from lmrun.catalog.catalog import LocatedModel
from lmrun.catalog.description import ModelFile
from lmrun.errors import InvalidParameter, ModelInvalid, ModelNotFound, ModelNotReady
from lmrun.reconcile.desired import DesiredModel
from lmrun.reconcile.outcome import Action
from lmrun.reconcile.reconciler import Reconciler
from lmrun.runtime.instance import Instance
from lmrun.runtime.pool import Pool
from lmrun.runtime.residency.residency import Residency
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig
from lmrun.settings.sources import PackageSource

log = logging.getLogger("lmrun.reconcile")


class FileReader(Protocol):
    """The part of the catalog that looks into files."""

    def describe(self, located: LocatedModel) -> ModelFile: ...

    def find_publisher(self, path: Path) -> str | None: ...


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model that can be loaded: `file` is on this machine. `publisher`: empty if unknown."""

    key: str
    identifier: str
    load: LoadConfig
    publisher: str
    file: ModelFile


@dataclass(frozen=True, slots=True)
class LoadedInstance:
    """`seconds`: how long the caller waited for it. `is_new`: it was loaded for them."""

    model: DeclaredModel
    instance: Instance
    seconds: float
    is_new: bool = True


class DeclaredModels:
    """What clients may see and change of a profile's models."""

    def __init__(self, reconciler: Reconciler, pool: Pool, files: FileReader) -> None:
        self._reconciler = reconciler
        self._pool = pool
        self._files = files
        self._loads: dict[str, tuple[InstanceSpec, asyncio.Task[None]]] = {}

    async def list(self) -> tuple[DeclaredModel, ...]:
        """Those whose files are on this machine and no broken ones, by key."""
        models = {model.key: model for model in reversed(self._declared)}
        return await asyncio.to_thread(self._describe_all, [*reversed(models.values())])

    async def describe(self, spec: InstanceSpec) -> ModelFile:
        """What an instance's file says of itself; nothing, if it is not there any more."""
        try:
            return await asyncio.to_thread(self._read_file, spec)
        except ModelInvalid:
            return ModelFile("llm", None, spec.size)

    async def load(
        self,
        name: str,
        settings: Mapping[str, Any],
        *,
        owner: str,
        ttl_s: float | None = None,
    ) -> LoadedInstance:
        """An instance of the model `name`, a key or an identifier, with these load settings.

        One that is loaded already and has them is the answer; otherwise another one is loaded,
        which may then be idle for `ttl_s`, or for as long as it likes.
        A caller who leaves does not stop it. Raises ModelNotFound for a model that nobody declared
        or whose file is not here, ModelNotReady while the profile is changing it, InvalidParameter
        for settings that contradict the profile's, and what a load raises.
        """
        started_s = time.monotonic()
        declared = self._find(name)
        model = await asyncio.to_thread(self._describe, declared)
        identifier = self._find_match(declared.key, settings)
        if identifier is None:
            load = declared.config.load.model_copy(update=dict(settings))
            spec = _make_spec(declared, load, self._free_identifier(declared), ttl_s)
            identifier = self._start("Load", declared, spec, owner)
        instance = await self._until_ready(identifier)
        return LoadedInstance(model, instance, time.monotonic() - started_s)

    async def set_up(
        self,
        name: str,
        chosen: LoadConfig,
        *,
        identifier: str | None,
        owner: str,
        ttl_s: float | None = None,
    ) -> LoadedInstance:
        """The instance `identifier` of the model `name`, which is a key or an identifier, with the
        profile's load settings under those of `chosen`; by default the declared instance.

        It is loaded, or loaded again if it has others. A caller who leaves does not stop it.
        Raises as `load` does, and InvalidParameter for another model's identifier.
        """
        started_s = time.monotonic()
        declared = self._find(name)
        model = await asyncio.to_thread(self._describe, declared)
        target = identifier or declared.identifier
        self._require_free(target, declared)
        spec = _make_spec(declared, declared.config.load.overlay(chosen), target, ttl_s)
        there = self._pool.instances.get(target)
        is_there = there is not None and there.state in ("ready", "loading")
        is_new = there is None or not is_there or there.spec.load != spec.load
        if is_new:
            self._start("Reload" if is_there else "Load", declared, spec, owner)
        instance = await self._until_ready(target)
        return LoadedInstance(model, instance, time.monotonic() - started_s, is_new)

    async def unload(self, identifier: str, *, owner: str) -> None:
        """End an instance and its streams. Raises ModelNotFound when there is none of that name,
        ModelNotReady while it is being loaded or unloaded."""
        instance = self._pool.instances.get(identifier)
        if instance is None:
            loaded = ", ".join(sorted(self._pool.instances)) or "none"
            raise ModelNotFound(
                f"There is no instance {identifier[:200]!r}.",
                param="instance_id",
                hint=f"Loaded: {loaded}.",
            )
        action = Action("Unload", identifier, instance.spec.model_key, ())
        log.info("Unload %s: by hand, by %s", identifier, owner)
        await asyncio.shield(self._reconciler.start_by_hand(action, None, owner))

    @property
    def _declared(self) -> Sequence[DesiredModel]:
        desired = self._reconciler.desired
        return desired.models if desired is not None else ()

    def _find(self, name: str) -> DesiredModel:
        models = self._declared
        found = self._reconciler.find_declared(name)
        if found is None:
            known = ", ".join(dict.fromkeys(model.key for model in models)) or "none"
            raise ModelNotFound(
                f"The profile declares no model {name[:200]!r}.",
                param="model",
                hint=f"Declared: {known}.",
            )
        if found.error is not None:
            raise found.error
        if found.spec is None:
            raise ModelNotFound(
                f"The file of {name!r} is not on this machine.",
                param="model",
                hint="Applying a profile with `state: loaded` fetches it.",
            )
        return found

    def _describe_all(self, models: Sequence[DesiredModel]) -> tuple[DeclaredModel, ...]:
        described = []
        for model in models:
            try:
                if model.spec is not None and model.error is None:
                    described.append(self._describe(model))
            except ModelInvalid:
                # Broken since the profile was accepted: its load will say so.
                continue
        return tuple(described)

    def _describe(self, model: DesiredModel) -> DeclaredModel:
        spec = model.spec
        assert spec is not None, "its file is here"
        publisher = _name_publisher(model, self._files.find_publisher(spec.path))
        file = self._read_file(spec)
        return DeclaredModel(model.key, model.identifier, model.config.load, publisher, file)

    def _read_file(self, spec: InstanceSpec) -> ModelFile:
        """With its projector, if it has one."""
        file = self._files.describe(LocatedModel(spec.path, spec.size, spec.mtime_ns))
        if spec.mmproj is None:
            return file
        return replace(file, type="vlm", size=file.size + spec.mmproj.size)

    def _find_match(self, key: str, settings: Mapping[str, Any]) -> str | None:
        """An instance of the model, loaded or being loaded, that has these settings."""
        loading = ((spec, None) for spec, _ in self._loads.values())
        there = (
            (instance.spec, instance)
            for instance in self._pool.instances.values()
            if instance.state in ("ready", "loading")
        )
        for spec, instance in chain(there, loading):
            if spec.model_key == key and _has(spec, instance, settings):
                return spec.identifier
        return None

    def _require_free(self, identifier: str, model: DesiredModel) -> None:
        """Raises InvalidParameter for an identifier that means another model."""
        there = self._pool.instances.get(identifier)
        names = {name for it in self._declared if it.key != model.key for name in _names(it)}
        if identifier in names or (there is not None and there.spec.model_key != model.key):
            raise InvalidParameter(
                f"The identifier {identifier!r} is another model's.", param="identifier"
            )

    def _free_identifier(self, model: DesiredModel) -> str:
        """The declared one, else that with a number."""
        taken = {*self._pool.instances, *self._loads}
        taken |= {other.identifier for other in self._declared if other.key != model.key}
        numbered = (f"{model.identifier}:{number}" for number in count(2))
        return next(name for name in chain((model.identifier,), numbered) if name not in taken)

    async def _until_ready(self, identifier: str) -> Instance:
        """Raises what the load ended with."""
        if identifier in self._loads:
            await _wait(identifier, self._loads[identifier][1])
        instance = self._pool.instances.get(identifier)
        if instance is None or instance.state != "ready":
            async with self._pool.acquire(identifier) as lease:
                instance = lease.instance
        return instance

    def _start(
        self, kind: Literal["Load", "Reload"], model: DesiredModel, spec: InstanceSpec, owner: str
    ) -> str:
        """Begin to load `spec`; its identifier."""
        name = spec.identifier
        action = Action(kind, name, spec.model_key, ())
        log.info("%s %s: by hand, by %s", kind, name, owner)
        task = self._reconciler.start_by_hand(action, replace(model, spec=spec), owner)
        self._loads[name] = spec, task
        task.add_done_callback(lambda _: self._loads.pop(name))
        return name


def _make_spec(
    model: DesiredModel, load: LoadConfig, identifier: str, ttl_s: float | None
) -> InstanceSpec:
    """The model with other load settings than the profile's, under a name of its own."""
    assert model.spec is not None, "its file is here"
    if load.kv_tokens is not None and load.kv_tokens < (load.context_length or 0):
        raise InvalidParameter(
            f"`context_length`: this model gets {load.kv_tokens} `kv_tokens`; "
            "one sequence has to fit.",
            param="context_length",
        )
    residency = Residency("hand", asked_ttl_s=ttl_s)
    return replace(model.spec, identifier=identifier, load=load, residency=residency)


def _names(model: DesiredModel) -> tuple[str, str]:
    return model.key, model.identifier


async def _wait(identifier: str, load: asyncio.Task[None]) -> None:
    """Until it has ended, however that ends; whoever waits may leave."""
    try:
        await asyncio.shield(load)
    except asyncio.CancelledError:
        if not load.cancelled():
            raise
        raise ModelNotReady(
            f"The load of {identifier!r} was given up: another profile was applied."
        ) from None


def _has(spec: InstanceSpec, instance: Instance | None, settings: Mapping[str, Any]) -> bool:
    """Whether the instance was loaded with these, chosen or by default."""
    values = spec.load.model_dump(include=set(settings))
    if instance is not None and instance.info is not None and "context_length" in values:
        values["context_length"] = instance.info.context_length
    return values == dict(settings)


def _name_publisher(model: DesiredModel, folder: str | None) -> str:
    """The key's first part; else the package index, or the folder that the file lies in."""
    publisher, slash, _ = model.key.partition("/")
    if slash:
        return publisher
    return "pypi" if isinstance(model.source, PackageSource) else folder or ""
