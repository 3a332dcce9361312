"""The composition root: builds the house, opens it, takes it down in reverse.

The only place that knows every room.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from lmrun.api.app import build_app, build_socket_app
from lmrun.api.control.by_hand import by_hand_routes
from lmrun.api.control.changes import Changes
from lmrun.api.control.checks import check_routes
from lmrun.api.control.routes import control_routes, public_routes
from lmrun.api.door import Door
from lmrun.api.http.record import current_record
from lmrun.api.listener import EmbeddedServer, PortListener, make_server, open_control_socket
from lmrun.api.lmstudio.routes import make_lmstudio_routes
from lmrun.api.lmstudio.v0.stats import make_extension
from lmrun.api.openai.fingerprint import make_fingerprint
from lmrun.api.openai.routes import make_generation_routes
from lmrun.api.responses.routes import make_responses_routes
from lmrun.api.telemetry.routes import telemetry_routes
from lmrun.api.telemetry.server_log import feeding, is_output
from lmrun.api.telemetry.telemetry import Telemetry
from lmrun.catalog.catalog import Catalog
from lmrun.checks.asking import PoolAsker
from lmrun.errors import LmrunError
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import DriftPolicy, LogConfig, ServerConfig
from lmrun.reconcile.actions import Executor
from lmrun.reconcile.declared import DeclaredModels
from lmrun.reconcile.drift.adoption import Adoption
from lmrun.reconcile.estimates import Estimates
from lmrun.reconcile.evictions import Room
from lmrun.reconcile.git.follower import GitFollower, make_follower
from lmrun.reconcile.history import Journal, read_history
from lmrun.reconcile.intake import Intake
from lmrun.reconcile.on_demand import OnDemand
from lmrun.reconcile.pinning import require_locked
from lmrun.reconcile.pricing import Prices
from lmrun.reconcile.reconciler import Reconciler
from lmrun.reconcile.records import History, StoredProfile
from lmrun.reconcile.reporting.report import Reporter
from lmrun.reconcile.status import Status
from lmrun.runtime.cores import read_budget
from lmrun.runtime.pool import Pool
from lmrun.runtime.residency.keeper import Keeper
from lmrun.runtime.residency.machine import read_total_bytes, to_bytes
from lmrun.runtime.residency.rules import Rules
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.git_source import GitSource
from lmrun.store.conversations import Conversations
from lmrun.store.generations import Generations
from lmrun.store.home import Home
from lmrun.store.measurements import Measurements
from lmrun.store.prefixes import PrefixStore
from lmrun.workbench import Workbench

log = logging.getLogger("lmrun.server")

DRAIN_S = 30.0
"""For all doors together."""
RELEASED_DRAIN_S = 1.0
"""Once nothing is loaded: there is nobody left who could end an answer well."""


class House:
    """Every room, wired. It opens nothing by itself: `open_house` does."""

    def __init__(self, home: Home, environment: Mapping[str, str]) -> None:
        self.home = home
        self.environment = environment
        self.changes = Changes()
        self.generations = Generations(home.database)
        self.conversations = Conversations(home.conversations)
        self.catalog = Catalog(home)
        self.measurements = Measurements(home.measurements)
        self.estimates = Estimates(self.catalog, self.measurements)
        self._total_bytes = read_total_bytes()
        self.telemetry = Telemetry(lambda: self.models.instances, self.log_config)
        self.models = self._make_pool(PrefixStore(home))
        self.keeper = Keeper(self.models.residents, lambda: self.models.instances, self.estimates)
        self.ask = PoolAsker(self.models, make_fingerprint)
        self.workbench = Workbench(
            home,
            environment,
            self.models,
            self._find_loaded,
            self.until_settled,
            self.changes.ring,
        )
        self.pool = self.workbench.pool
        self.workshop = self.workbench.workshop
        self.extra_routes = (
            *public_routes(self),
            *telemetry_routes(self.telemetry),
            *make_responses_routes(self.pool, self.conversations, self.workshop),
            *make_lmstudio_routes(self),
            *make_generation_routes(self.pool, "/api/v0", make_extension(self)),
            *self.workbench.public_routes,
        )
        note_request = self.telemetry.note_request
        app = build_app(self.pool, self._door, self.extra_routes, note_request)
        self.listener = PortListener(app)
        prices = Prices(self.measurements, self._room)
        self.reconciler = Reconciler(
            finder=self.catalog,
            executor=Executor(self.catalog, self.models, self.listener, self.workshop, prices),
            prices=prices,
            pool=self.models,
            listener=self.listener,
            tools=self.workshop,
            journal=Journal(self.generations),
            on_change=self._on_reconciled,
        )
        self.on_demand = OnDemand(self.reconciler)
        self.declared = DeclaredModels(self.reconciler, self.models, self.catalog)
        self.intake = Intake(
            self.reconciler,
            self.generations,
            environment,
            self.changes.ring,
            partial(require_locked, finder=self.catalog, pin_servers=self.workbench.pin_servers),
        )
        self.adoption = Adoption(self.reconciler, self.intake, home.git, self.changes.ring)
        self.reporter = self._make_reporter(home)
        self.stopping = asyncio.Event()
        self._drain_s = DRAIN_S

    def _make_pool(self, prefixes: PrefixStore) -> Pool:
        return Pool(
            cores=read_budget(),
            queue_limit=self._queue_limit,
            on_change=self._on_change,
            explain_absence=self._explain_absence,
            find_file=self._find_file,
            prefixes=prefixes,
            observer=self.telemetry,
            rules=self._rules,
            estimate=self.estimates.claim,
            load_for=self._load_for,
            offer=self._offer,
            name_client=_name_client,
        )

    def _make_reporter(self, home: Home) -> Reporter:
        log = home.server_log if is_output(home.server_log) else None
        return Reporter(
            home.root,
            self.reconciler,
            self.intake,
            self.models,
            self.models.residents,
            self.models.rollouts,
            self.on_demand,
            self.listener,
            log,
            self.adoption.find_obstacle,
            self.workbench.troubles,
        )

    @property
    def drift_policy(self) -> DriftPolicy:
        return self.reconciler.drift_policy

    def status(self) -> Status:
        return self.reporter.status()

    def history(self) -> History:
        return read_history(self.generations)

    def read_generation(self, number: int) -> StoredProfile:
        found = self.generations.find(number)
        return StoredProfile(found.number, found.root, found.texts)

    def follow(self, source: GitSource) -> GitFollower:
        """The one who keeps what runs at what a repository has; its status is shown from now on."""
        follower = make_follower(
            source,
            self.home.git,
            self.environment,
            intake=self.intake,
            generations=self.generations,
            ask=self.ask,
            on_change=self.changes.ring,
        )
        self.reporter.follower = follower
        return follower

    async def stop(self) -> None:
        """Unload everything; the process ends after that."""
        # Of its own, so that it ends what it began even when the client is gone.
        self._stop = asyncio.create_task(self._release())
        await asyncio.shield(self._stop)

    async def _release(self) -> None:
        # While their models are there: they have not failed, and the next server goes on with them.
        await self.workbench.interrupt()
        await self.reconciler.release()
        self._drain_s = RELEASED_DRAIN_S
        self.stopping.set()

    async def close_control(self, server: EmbeddedServer, serving: asyncio.Task[None]) -> None:
        """End the control socket; what is under way there may last a while."""
        began = asyncio.get_running_loop().time()
        server.config.timeout_graceful_shutdown = math.ceil(self._drain_s)
        server.end()
        await serving
        self._drain_s = max(1.0, self._drain_s - (asyncio.get_running_loop().time() - began))

    async def close_port(self) -> None:
        """The same with the port, in what is left of the time."""
        await self.listener.close(drain_s=self._drain_s)

    def _on_change(self) -> None:
        self.reconciler.wake()
        self.changes.ring()

    async def until_settled(self) -> None:
        """Until a profile is applied and everything was tried for it."""
        async with aclosing(self.changes.listen()) as changes:
            async for _ in changes:
                it = self.reconciler
                was_tried = bool(it.failures) or it.observed_generation == it.generation
                if it.loaded is not None and was_tried and not it.is_progressing:
                    return

    def _find_loaded(self) -> LoadedProfile | None:
        return self.reconciler.loaded

    def _on_reconciled(self) -> None:
        self.adoption.wake()
        self.changes.ring()

    def _explain_absence(self, name: str) -> LmrunError | None:
        return self.reconciler.explain_absence(name)

    def _find_file(self, name: str) -> Path | None:
        return self.reconciler.find_file(name)

    def log_config(self) -> LogConfig:
        return self._config.log

    @property
    def _config(self) -> ServerConfig:
        return self.listener.config or ServerConfig()

    def _rules(self) -> Rules:
        config = self._config
        limit_bytes = to_bytes(config.memory.limit, self._total_bytes)
        return Rules(limit_bytes, config.jit.auto_evict)

    def _room(self) -> Room:
        residents = self.models.residents
        return Room(residents.tenants, residents.rules.limit_bytes, residents.rules.policy)

    async def _load_for(self, name: str, ttl_s: float | None) -> bool:
        return await self.on_demand.load_for(name, ttl_s)

    def _offer(self) -> tuple[InstanceSpec, ...]:
        return self.on_demand.offer()

    def _queue_limit(self) -> int:
        return self._config.limits.queue

    def _door(self) -> Door:
        return self.listener.door


def _name_client() -> str | None:
    """The name of the API key of the request that is being answered, if it has one."""
    record = current_record()
    return record.key if record is not None else None


@asynccontextmanager
async def open_house(home: Home, environment: Mapping[str, str]) -> AsyncIterator[House]:
    """A house with its control socket open and its reconciler running; closed in reverse."""
    async with AsyncExitStack() as stack:
        house = House(home, environment)
        stack.callback(house.generations.close)
        stack.callback(house.conversations.close)
        stack.callback(house.measurements.close)
        stack.push_async_callback(house.models.close)
        stack.push_async_callback(house.workbench.close)
        # Before the port, so that tools are there for as long as answers go on.
        await stack.enter_async_context(run_beside(house.workbench.serve()))
        stack.push_async_callback(house.close_port)
        await stack.enter_async_context(run_beside(house.reconciler.run()))
        await stack.enter_async_context(run_beside(house.intake.follow()))
        await stack.enter_async_context(run_beside(house.keeper.run()))
        await stack.enter_async_context(run_beside(house.adoption.run()))
        await stack.enter_async_context(run_beside(house.workbench.take_up()))
        stack.callback(home.control_socket.unlink, missing_ok=True)
        stack.enter_context(feeding(house.telemetry.feed, house.log_config))
        routes = (
            *control_routes(house),
            *check_routes(house),
            *by_hand_routes(house),
            *telemetry_routes(house.telemetry),
            *house.workbench.control_routes,
        )
        control = make_server(build_socket_app(routes))
        sockets = [open_control_socket(home.control_socket)]
        serving = asyncio.create_task(control.serve(sockets=sockets))
        stack.push_async_callback(house.close_control, control, serving)
        stack.callback(house.changes.close)
        stack.callback(house.workbench.stop_following)
        stack.callback(house.telemetry.feed.close)
        yield house


@asynccontextmanager
async def run_beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block. Its failure is a bug and ends the process, not in silence."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report_end)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("a part of the server failed", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)
