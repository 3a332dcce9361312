"""Processes for the functions of one module: kept for the next call, made anew after an end or a
change. It knows no tool and no call.

A process does one call at a time, so that what a call breaks is that call's alone; calls at the
same time have processes of their own, up to MAX_PROCESSES, and wait beyond.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lmrun.errors import EngineCrashed
from lmrun.tools.functions.frames import Described
from lmrun.tools.functions.process import ChildLost, FunctionProcess, Workplace
from lmrun.tools.processes.control import ProgramRefused

log = logging.getLogger("lmrun.tools")

MAX_PROCESSES = 4
START_TIMEOUT_S = 60.0
"""Until a module is imported; some load a lot."""
IDLE_S = 60.0
"""Without need, after which processes beyond the first end."""


class PoolFailed(Exception):
    """No process can be had; the message says why."""


class PoolBusy(PoolFailed):
    """None was free in time."""


class Pool:
    """`described`: what the functions are like, as the newest process has said."""

    def __init__(
        self,
        place: Workplace,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self.described: Described | None = None
        self._place = place
        self._start_timeout_s = start_timeout_s
        self._idle_s = idle_s
        self._idle: list[FunctionProcess] = []
        self._never_needed = 0
        self._trimming: asyncio.Task[None] | None = None
        self._room = asyncio.Semaphore(MAX_PROCESSES)
        self._is_closed = False

    @asynccontextmanager
    async def process(self, wait_s: float | None = None) -> AsyncIterator[FunctionProcess]:
        """A process that nobody else uses meanwhile; it is kept if it lives on after the block,
        and ended at once if the block is cancelled. `wait_s`: until one is free; starting one is
        not counted. Raises PoolFailed."""
        async with self._reserve(wait_s):
            process = await self._take()
            is_done = False
            try:
                yield process
                is_done = True
            finally:
                if is_done and process.is_alive and not self._is_closed:
                    self._keep(process)
                else:
                    await process.close()

    @asynccontextmanager
    async def _reserve(self, wait_s: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(wait_s):
                await self._room.acquire()
        except TimeoutError:
            raise PoolBusy(
                f"all its {MAX_PROCESSES} processes were busy for {wait_s:g} s"
            ) from None
        try:
            yield
        finally:
            self._room.release()

    async def close(self) -> None:
        """End those that nobody uses; the others end with their calls."""
        self._is_closed = True
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.wait({self._trimming})
        idle, self._idle = self._idle, []
        await asyncio.gather(*(process.close() for process in idle))

    def _keep(self, process: FunctionProcess) -> None:
        self._idle.append(process)
        if len(self._idle) > 1 and (self._trimming is None or self._trimming.done()):
            self._trimming = asyncio.create_task(self._trim())

    async def _trim(self) -> None:
        """End those that a while has passed without, but for one."""
        while len(self._idle) > 1:
            self._never_needed = len(self._idle)
            await asyncio.sleep(self._idle_s)
            while self._never_needed > 1:
                self._never_needed -= 1
                await self._idle.pop(0).close()

    async def _take(self) -> FunctionProcess:
        while self._idle:
            process = self._idle.pop()
            self._never_needed = min(self._never_needed, len(self._idle))
            if process.is_alive and not process.is_stale():
                return process
            await process.close()
        if self._is_closed:
            raise PoolFailed("the profile has changed meanwhile")
        return await self._start()

    async def _start(self) -> FunctionProcess:
        try:
            process = await FunctionProcess.start(self._place)
        except ProgramRefused as refused:
            where = f" in {self._place.cwd}" if refused.step == "directory" else ""
            raise PoolFailed(f"no process can be started{where}: {refused.reason}") from None
        except OSError as error:
            raise PoolFailed(f"no process can be started: {error.strerror}") from None
        is_ready = False
        try:
            async with asyncio.timeout(self._start_timeout_s):
                self.described = await process.set_up(self._place)
            is_ready = True
        except TimeoutError:
            raise PoolFailed(
                f"`{self._place.module}` was not imported within {self._start_timeout_s:g} s"
            ) from None
        except ChildLost as lost:
            log.warning("importing `%s` ended its process: %s", self._place.module, lost.output)
            how = EngineCrashed.describe(lost.ending.returncode)
            raise PoolFailed(
                f"importing `{self._place.module}` ended its process ({how})"
            ) from None
        finally:
            if not is_ready:
                await process.close()
        return process
