"""A server as a process: from what it starts with to its end, by whatever signal.

It knows the house as a whole, and none of its rooms.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

from lmrun.api.http.connection import allow_connections
from lmrun.api.telemetry.server_log import LogOutput, install_output
from lmrun.errors import ProfileInvalid
from lmrun.reconcile.outcome import ActionEnded
from lmrun.reconcile.running import SERVER_SLOT
from lmrun.reconcile.service_manager import ServiceManager
from lmrun.server import House, open_house, run_beside
from lmrun.settings.git_source import GitSource
from lmrun.store.generations import Origin
from lmrun.store.home import Home, find_user
from lmrun.store.locks import ServerLock

log = logging.getLogger("lmrun.server")

LONGEST_STOP_S = 60.0
EXIT_FAILURE = 1


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
        gc.collect()
        gc.freeze()  # 77,000 objects that stay: to look through them stops every stream for 35 ms
        output.config = house.log_config
        _stop_on_signals(house.stopping)
        follower = house.follow(beginning.git) if beginning.git else None
        if beginning.profile is None:
            await house.intake.restore()
        elif not await _start_with(house, beginning.profile, watch=beginning.watch):
            return EXIT_FAILURE
        if follower is not None:
            await stack.enter_async_context(run_beside(follower.run()))
        elif house.reconciler.loaded is None and not beginning.background:
            log.info("no profile is applied; `lmrun apply PROFILE` applies one")
        await stack.enter_async_context(run_beside(_report_to(manager, house)))
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
