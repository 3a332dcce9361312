"""The composition root: builds the house, runs it, takes it down in reverse.

The only place that knows every room.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lmrun.api.app import build_app, build_socket_app
from lmrun.api.control.by_hand import by_hand_routes
from lmrun.api.control.changes import Changes
from lmrun.api.control.checks import check_routes
from lmrun.api.control.routes import control_routes, public_routes
from lmrun.api.door import Door
from lmrun.api.http.connection import allow_connections
from lmrun.api.http.record import current_record
from lmrun.api.listener import EmbeddedServer, PortListener, make_server, open_control_socket
from lmrun.api.lmstudio.routes import make_lmstudio_routes
from lmrun.api.lmstudio.v0.stats import make_extension
from lmrun.api.openai.fingerprint import make_fingerprint
from lmrun.api.openai.routes import make_generation_routes
from lmrun.api.responses.routes import make_responses_routes
from lmrun.api.telemetry.routes import telemetry_routes
from lmrun.api.telemetry.server_log import LogOutput, feeding, install_output, is_output
from lmrun.api.telemetry.telemetry import Telemetry
from lmrun.catalog.catalog import Catalog
from lmrun.checks.asking import PoolAsker
from lmrun.errors import LmrunError, ProfileInvalid
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
from lmrun.reconcile.outcome import ActionEnded
from lmrun.reconcile.pinning import require_locked
from lmrun.reconcile.pricing import Prices
from lmrun.reconcile.reconciler import Reconciler
from lmrun.reconcile.records import History, StoredProfile
from lmrun.reconcile.reporting.report import Reporter
from lmrun.reconcile.running import SERVER_SLOT
from lmrun.reconcile.service_manager import ServiceManager
from lmrun.reconcile.status import Status
from lmrun.runtime.cores import read_budget
from lmrun.runtime.pool import Pool
from lmrun.runtime.residency.keeper import Keeper
from lmrun.runtime.residency.machine import read_total_bytes, to_bytes
from lmrun.runtime.residency.rules import Rules
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.git_source import GitSource
from lmrun.store.conversations import Conversations
from lmrun.store.generations import Generations, Origin
from lmrun.store.home import Home, find_user
from lmrun.store.locks import ServerLock
from lmrun.store.measurements import Measurements
from lmrun.store.prefixes import PrefixStore

log = logging.getLogger("lmrun.server")

DRAIN_S = 30.0
LONGEST_STOP_S = 60.0
EXIT_FAILURE = 1


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
        self.telemetry = Telemetry(lambda: self.pool.instances, self.log_config)
        self.pool = self._make_pool(PrefixStore(home))
        self.keeper = Keeper(self.pool.residents, lambda: self.pool.instances, self.estimates)
        self.ask = PoolAsker(self.pool, make_fingerprint)
        self.extra_routes = (
            *public_routes(self),
            *telemetry_routes(self.telemetry),
            *make_responses_routes(self.pool, self.conversations),
            *make_lmstudio_routes(self),
            *make_generation_routes(self.pool, "/api/v0", make_extension(self)),
        )
        note_request = self.telemetry.note_request
        app = build_app(self.pool, self._door, self.extra_routes, note_request)
        self.listener = PortListener(app)
        prices = Prices(self.measurements, self._room)
        self.reconciler = Reconciler(
            finder=self.catalog,
            executor=Executor(self.catalog, self.pool, self.listener, prices),
            prices=prices,
            pool=self.pool,
            listener=self.listener,
            journal=Journal(self.generations),
            on_change=self._on_reconciled,
        )
        self.on_demand = OnDemand(self.reconciler)
        self.declared = DeclaredModels(self.reconciler, self.pool, self.catalog)
        self.intake = Intake(
            self.reconciler,
            self.generations,
            environment,
            self.changes.ring,
            partial(require_locked, finder=self.catalog),
        )
        self.adoption = Adoption(self.reconciler, self.intake, home.git, self.changes.ring)
        self.reporter = self._make_reporter(home)
        self.stopping = asyncio.Event()

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
            self.pool,
            self.pool.residents,
            self.pool.rollouts,
            self.on_demand,
            self.listener,
            log,
            self.adoption.find_obstacle,
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
        await self.reconciler.release()
        self.stopping.set()

    def _on_change(self) -> None:
        self.reconciler.wake()
        self.changes.ring()

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
        residents = self.pool.residents
        return Room(residents.tenants, residents.rules.limit_bytes, residents.rules.policy)

    async def _load_for(self, name: str, ttl_s: float | None) -> bool:
        return await self.on_demand.load_for(name, ttl_s)

    def _offer(self) -> tuple[InstanceSpec, ...]:
        return self.on_demand.offer()

    def _queue_limit(self) -> int:
        return self._config.limits.queue

    def _door(self) -> Door:
        return Door.from_config(self._config)


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
        stack.push_async_callback(house.pool.close)
        stack.push_async_callback(house.listener.close, drain_s=DRAIN_S)
        await stack.enter_async_context(_background(house.reconciler.run()))
        await stack.enter_async_context(_background(house.intake.follow()))
        await stack.enter_async_context(_background(house.keeper.run()))
        await stack.enter_async_context(_background(house.adoption.run()))
        stack.callback(home.control_socket.unlink, missing_ok=True)
        stack.enter_context(feeding(house.telemetry.feed, house.log_config))
        routes = (
            *control_routes(house),
            *check_routes(house),
            *by_hand_routes(house),
            *telemetry_routes(house.telemetry),
        )
        control = make_server(build_socket_app(routes))
        sockets = [open_control_socket(home.control_socket)]
        serving = asyncio.create_task(control.serve(sockets=sockets))
        stack.push_async_callback(_end, control, serving)
        stack.callback(house.changes.close)
        stack.callback(house.telemetry.feed.close)
        yield house


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
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


async def _end(server: EmbeddedServer, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await serving


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a server starts with: a profile, which it may `watch`, a repository that it follows, or
    neither. `background`: it was started by a client that will apply a profile itself."""

    profile: Path | None = None
    watch: bool = False
    git: GitSource | None = None
    background: bool = False


def serve(beginning: Beginning, home: Home) -> int:
    """Run a server until it is told to stop; return the process's exit code.

    Without a profile, what was last applied is restored. Raises StoreError when another server
    has this home, and ProfileInvalid when the profile cannot be applied and never could.
    """
    manager = ServiceManager.take(os.environ)
    output = install_output()
    allow_connections()
    home.ensure()
    with ServerLock(home.lock_file):
        return asyncio.run(_serve(beginning, output, home, manager))


async def _serve(
    beginning: Beginning, output: LogOutput, home: Home, manager: ServiceManager
) -> int:
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(home, os.environ))
        output.config = house.log_config
        _stop_on_signals(house.stopping)
        follower = house.follow(beginning.git) if beginning.git else None
        if beginning.profile is None:
            await house.intake.restore()
        elif not await _start_with(house, beginning.profile, watch=beginning.watch):
            return EXIT_FAILURE
        if follower is not None:
            await stack.enter_async_context(_background(follower.run()))
        elif house.reconciler.loaded is None and not beginning.background:
            log.info("no profile is applied; `lmrun apply PROFILE` applies one")
        await stack.enter_async_context(_background(_report_to(manager, house)))
        await house.stopping.wait()
        log.info("stopping")
        manager.tell(STOPPING="1")
    return 0


async def _report_to(manager: ServiceManager, house: House) -> None:
    """Say that the server is there, and then that it is still alive."""

    def describe() -> str:
        converged = next(it for it in house.status().conditions if it.type == "Converged")
        return f"generation {house.reconciler.generation}: {converged.reason} {converged.message}"

    manager.tell(READY="1", STATUS=describe())
    reconciler = house.reconciler
    await manager.keep_alive(reconciler.wake, lambda: reconciler.has_looked, describe)


async def _start_with(house: House, profile: Path, *, watch: bool) -> bool:
    """Apply `profile`, or what was last applied from it when it is broken now.

    False when the port cannot be opened: whoever started a server wants to know that at once.
    """
    try:
        origin = Origin(find_user(), "serve")
        applying = house.intake.apply(profile, {}, watch=watch, origin=origin)
        async with aclosing(applying) as events:
            async for event in events:
                if isinstance(event, ActionEnded) and event.outcome.kind == "Listen":
                    break
    except ProfileInvalid as invalid:
        if not await house.intake.restore_for(profile, invalid, watch=watch):
            raise
    failure = house.reconciler.failures.get(SERVER_SLOT)
    return failure is None


def _stop_on_signals(stopping: asyncio.Event) -> None:
    """The first SIGTERM or SIGINT drains, the second ends at once."""
    loop = asyncio.get_running_loop()

    def give_up() -> None:
        # Workers end with the process: whatever hangs, a stop is a stop.
        log.critical("not stopped after %d s; ending at once", LONGEST_STOP_S)
        os._exit(EXIT_FAILURE)

    def stop() -> None:
        if stopping.is_set():
            os._exit(EXIT_FAILURE)
        stopping.set()
        loop.call_later(LONGEST_STOP_S, give_up)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
