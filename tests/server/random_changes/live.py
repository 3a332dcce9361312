"""A whole server in this process, but for its workers: opened, changed, killed, looked at."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from lmrun import failpoints
from lmrun.errors import DiskFull, LmrunError, ModelNotReady
from lmrun.reconcile.drift.ownership import cli_owner
from lmrun.runtime.timings import Timings
from lmrun.server import House, open_house
from lmrun.settings.load import LoadConfig
from lmrun.store.home import Home
from tests.support.quick_workers import QuickWorker

PATIENCE_S = 10.0
_IN_DATABASES = frozenset(
    {"generation.written", "generation.marked", "outcomes.written", "rest.written"}
    | {"measurement.seconds", "measurement.memory"}
)
_NO_LOOP = Timings(backoff_first_s=0.0, crash_limit=10_000)


class JumpingClock:
    """Wall time and monotonic time with jumps."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.ahead_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.wall_s)

    def write_now(self) -> str:
        return self.now().isoformat(timespec="microseconds")

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s


async def _insist(ask: Callable[[], Awaitable[object]]) -> None:
    """Again and again while something else is being done with that instance."""
    while True:
        try:
            await ask()
            return
        except ModelNotReady:
            await asyncio.sleep(0.001)


class Live:
    """`rounds`: how often the reconciler has started something since the last `begin`. `bugs`: what
    has ended a part of the server."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder / "home")
        self._home.ensure()
        self._profile = folder / "p.yaml"
        self._patch = pytest.MonkeyPatch()
        self._clock = JumpingClock()
        self._is_full = False
        self.rounds = 0
        self.bugs: list[BaseException] = []
        self._stand_in()

    async def open(self) -> None:
        self._stack = AsyncExitStack()
        self.house: House = await self._stack.enter_async_context(open_house(self._home, {}))
        reconciler = self.house.reconciler
        self._patch.setattr(reconciler.by_hand, "_now", self._clock.write_now)
        self._patch.setattr(reconciler.journal, "_now", self._clock.now)
        self._patch.setattr(reconciler, "_start_due", partial(self._count, reconciler._start_due))
        await self.house.intake.restore()

    async def close(self) -> None:
        await self._stack.aclose()
        assert not QuickWorker.alive, "workers without a server"

    def undo(self) -> None:
        self._patch.undo()

    async def restart(self) -> None:
        """What is under way is under way no more; what is stored is there again."""
        await self.close()
        await self.open()

    async def apply(self) -> None:
        """Raises LmrunError when it is not accepted."""
        async for _ in self.house.intake.apply(self._profile, {}, watch=False):
            pass

    async def restart_amid_apply(self, turns: int) -> None:
        """The server ends so many turns of the loop after somebody has begun to apply."""
        applying = asyncio.create_task(self.apply())
        for _ in range(turns):
            await asyncio.sleep(0.001)
        applying.cancel()
        with suppress(asyncio.CancelledError, LmrunError):
            await applying
        await self.restart()

    async def load(self, name: str, length: int) -> None:
        chosen = LoadConfig(context_length=length)
        declared, owner = self.house.declared, cli_owner("somebody")
        await _insist(lambda: declared.set_up(name, chosen, identifier=None, owner=owner))

    async def unload(self, name: str) -> None:
        owner = cli_owner("somebody")
        await _insist(lambda: self.house.declared.unload(name, owner=owner))

    async def stop(self) -> None:
        """For good; the next start restores nothing. Raises StoreError."""
        await self.house.stop()
        await self.restart()

    def crash_worker(self, name: str) -> None:
        pid = self.house.models.instances[name].pid
        assert pid is not None
        QuickWorker.alive[pid].kill()

    def fill_disk(self) -> None:
        self._is_full = True

    def make_room(self) -> None:
        """It would be noticed within 30 s; who waits for that?"""
        self._is_full = False
        self._wake()

    def jump(self, wall_s: float, ahead_s: float) -> None:
        self._clock.wall_s += wall_s
        self._clock.ahead_s += ahead_s
        self._wake()

    def begin(self) -> None:
        self.rounds = 0

    async def until(self, look: Callable[[], bool]) -> bool:
        """Whether `look()` came true in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not look():
                    await asyncio.sleep(0.001)
                return True
        return look()

    @property
    def is_quiet(self) -> bool:
        reconciler = self.house.reconciler
        workers = {it.pid for it in self.house.models.instances.values() if it.state == "ready"}
        is_looked_at = reconciler.has_looked and not reconciler.is_progressing
        return (
            is_looked_at
            and not [*self.house.models.rollouts.beside]
            and workers >= set(QuickWorker.alive)
        )

    @property
    def running(self) -> dict[str, int | None]:
        """The context length of every instance that is ready."""
        return {
            name: it.spec.load.context_length
            for name, it in self.house.models.instances.items()
            if it.state == "ready"
        }

    @property
    def newest_text(self) -> str | None:
        newest = self.house.generations.newest()
        return newest.texts[0][1] if newest else None

    def _wake(self) -> None:
        self.house.reconciler.wake()
        self.house.adoption.wake()

    def _count(self, start_due: Callable[[], None]) -> None:
        before = len(self.house.reconciler._running)
        start_due()
        self.rounds += len(self.house.reconciler._running) > before

    def _stand_in(self) -> None:
        patch = self._patch.setattr
        patch("lmrun.runtime.session.WorkerProcess", QuickWorker)
        patch("lmrun.runtime.pool.Timings", lambda: _NO_LOOP)
        patch("lmrun.reconcile.reconciler.time", self._clock)
        patch("lmrun.store.generations._now", self._clock.write_now)
        patch("lmrun.store.measurements._now", self._clock.write_now)
        patch("lmrun.store.database.Database.try_disk", lambda _: self._try_disk())
        patch(failpoints, "on_reach", self._refuse)
        patch("lmrun.server._report_end", self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """The process would end, with the tests."""
        if not task.cancelled() and (bug := task.exception()) is not None:
            self.bugs.append(bug)

    def _try_disk(self) -> None:
        if self._is_full:
            raise DiskFull("No space left on device.")

    def _refuse(self, point: str) -> None:
        if self._is_full and point in _IN_DATABASES:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error
        if self._is_full and point == "file.written":
            raise OSError(errno.ENOSPC, "No space left on device")
