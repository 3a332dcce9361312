"""One worker from its start to its end: the load, the streams, the watch over its step loop.

It knows no state machine and never starts a second worker: a restart is a new session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmrun.engines.base import AdapterFile, Attachments, CacheStore, EngineUsage, ModelInfo
from lmrun.errors import EngineCrashed, EngineError, EngineHung, LmrunError, LoadFailed
from lmrun.failpoints import reach
from lmrun.runtime.process.watchdog import Watchdog
from lmrun.runtime.process.worker import WorkerProcess
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.streams import Streams
from lmrun.runtime.timings import Timings
from lmrun.worker import frames
from lmrun.worker.frames import FromWorker, Step, Threads, ToWorker
from lmrun.worker.wire_errors import from_wire


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who wants to know. `on_step`: the counts of active and waiting sequences, and now and then
    what the engine holds. `on_activity`: the first stream opened, or the last one ended."""

    on_progress: Callable[[float], None]
    on_step: Callable[[int, int, EngineUsage | None], None]
    on_activity: Callable[[], None]


class WorkerSession:
    """One worker process, which is loading or holds the model of `spec`."""

    def __init__(
        self,
        spec: InstanceSpec,
        timings: Timings,
        listeners: Listeners,
        cache_store: CacheStore | None = None,
    ) -> None:
        self._spec = spec
        self._cache_store = cache_store
        self._timings = timings
        self._listeners = listeners
        self._process: WorkerProcess | None = None
        self._loaded: asyncio.Future[ModelInfo] = asyncio.get_running_loop().create_future()
        self._watchdog: Watchdog | None = None
        self._silent_s: float | None = None
        self._threads = 0
        self.streams = Streams(self._send, listeners.on_activity)

    @property
    def pid(self) -> int | None:
        """The worker's process id, once it is started."""
        return self._process.pid if self._process else None

    async def load(self, threads: int) -> ModelInfo:
        """Start the worker and wait until it holds the model.

        Raises what the worker reports, LoadFailed when no process could be started, and
        EngineCrashed when it died. Nothing is left running then, nor when this is cancelled.
        """
        self._threads = threads
        try:
            self._process = await WorkerProcess.spawn(self._spec.identifier, self._take)
        except OSError as error:
            raise LoadFailed(f"No worker process could be started: {error}.") from None
        try:
            reach("load.worker_started")
            return await self._load(self._process, threads)
        except BaseException:
            await self.kill()
            raise

    async def until_death(self) -> EngineError:
        """Wait for the worker's end; its streams have failed then. Why it ended."""
        returncode = await asyncio.shield(self._running.death)
        self._stop_watching()
        self.streams.close(lambda: self._describe_death(returncode))
        return self._describe_death(returncode)

    async def finish(self) -> None:
        """Wait for what a dead worker leaves behind."""
        if self._process is not None:
            await self._process.finish()

    async def stop(self, make_error: Callable[[], LmrunError]) -> None:
        """End the streams with an error and the worker in good order."""
        self._stop_watching()
        self.streams.close(make_error)
        if self._process is not None:
            await self._process.stop(self._timings)

    async def kill(self) -> None:
        """End the worker at once."""
        self._stop_watching()
        if self._process is not None:
            self._process.kill()
            await self._process.finish()

    def set_threads(self, threads: int) -> None:
        """Grant the worker this many threads from its next step on."""
        if threads != self._threads:
            self._threads = threads
            self._send(Threads(threads))

    @property
    def last_line(self) -> str | None:
        """The last thing the worker wrote to its standard error."""
        return self._process.stderr.last_line if self._process else None

    @property
    def _running(self) -> WorkerProcess:
        assert self._process is not None
        return self._process

    def _send(self, frame: ToWorker) -> None:
        if self._process is not None:
            self._process.send(frame)

    async def _load(self, process: WorkerProcess, threads: int) -> ModelInfo:
        process.send(_make_load(self._spec, threads, self._cache_store))
        ends: set[asyncio.Future[Any]] = {self._loaded, process.death}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not self._loaded.done():
            raise self._describe_death(process.death.result())
        info = self._loaded.result()
        self._watchdog = Watchdog(self._timings, self._end_hung)
        return info

    def _take(self, frame: FromWorker) -> None:
        match frame:
            case Step():
                self._take_step(frame)
            case frames.Embedded():
                self.streams.deliver_vectors(frame)
            case frames.Tokenized() | frames.Detokenized() | frames.Rendered():
                self.streams.deliver_reply(frame)
            case frames.LoadProgress(fraction):
                self._listeners.on_progress(fraction)
            case frames.Loaded(info):
                self._settle(lambda: self._loaded.set_result(info))
            case frames.LoadFailed(error):
                self._settle(lambda: self._loaded.set_exception(from_wire(error)))

    def _take_step(self, step: Step) -> None:
        if self._watchdog is not None:
            is_busy = step.active + step.waiting > 0
            self._watchdog.beat(is_busy=is_busy, patience_s=step.patience_s)
        self._listeners.on_step(step.active, step.waiting, step.usage)
        self.streams.deliver(step)

    def _settle(self, settle: Callable[[], None]) -> None:
        if not self._loaded.done():
            settle()

    def _end_hung(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._running.kill()

    def _stop_watching(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None

    def _describe_death(self, returncode: int) -> EngineError:
        model = self._spec.model_key
        if self._silent_s is not None:
            return EngineHung(
                f"The worker of model {model!r} made no step for {self._silent_s:.0f} s "
                "and was ended.",
                hint="It is started again.",
            )
        how = EngineCrashed.describe(returncode)
        if self._running.fault is not None:
            how = f"it broke the protocol, {self._running.fault}"
        return EngineCrashed(
            f"The worker of model {model!r} ended unexpectedly: {how}.", returncode=returncode
        )


def _make_load(spec: InstanceSpec, threads: int, cache_store: CacheStore | None) -> frames.Load:
    adapters = tuple(
        AdapterFile(config.given_name, str(file.path), config.scale)
        for config, file in zip(spec.load.adapters, spec.adapters, strict=True)
    )
    attachments = Attachments(
        adapters=adapters,
        mmproj=str(spec.mmproj.path) if spec.mmproj else None,
        draft_model=str(spec.draft_model.path) if spec.draft_model else None,
        cache_store=cache_store,
    )
    template = spec.prompt_template
    return frames.Load(
        engine=spec.engine,
        path=str(spec.path),
        config=spec.load.model_dump(exclude_unset=True),
        threads=threads,
        attachments=attachments,
        prewarm=spec.prewarm,
        prompt_template=template.model_dump(exclude_unset=True) if template else None,
    )
