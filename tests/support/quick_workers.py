"""Workers without a process: they load at once, say one word, and die when they are told to.

For tests that take a server through thousands of changes. They stand in for
`lmrun.runtime.process.worker.WorkerProcess`; everything above that is real.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from lmrun.chat.events import ChatEnd, MessageDelta, PromptProgress, Usage
from lmrun.engines.base import ModelInfo
from lmrun.runtime.timings import Timings
from lmrun.worker import frames
from lmrun.worker.frames import (
    FromWorker,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    SequenceEvents,
    Step,
    ToWorker,
    WireError,
)

FIRST_PID = 2**40
"""No real process has such a number."""


@dataclass(frozen=True, slots=True)
class SilentStderr:
    last_line: str | None = None


class QuickWorker:
    """`alive`: all that were started and have not ended, by pid. `broken`: bad files."""

    alive: ClassVar[dict[int, QuickWorker]] = {}
    broken: ClassVar[set[str]] = set()
    _pids: ClassVar[itertools.count[int]] = itertools.count(FIRST_PID)
    fault = None
    stderr = SilentStderr()

    def __init__(self, on_frame: Callable[[FromWorker], None]) -> None:
        self._on_frame = on_frame
        self._loop = asyncio.get_running_loop()
        self.pid = next(self._pids)
        self.death: asyncio.Future[int] = self._loop.create_future()
        self.alive[self.pid] = self

    @classmethod
    async def spawn(cls, name: str, on_frame: Callable[[FromWorker], None]) -> QuickWorker:
        await asyncio.sleep(0)
        return cls(on_frame)

    def send(self, frame: ToWorker) -> None:
        if isinstance(frame, Load) and frame.path in self.broken:
            self._say(LoadFailed(WireError("load_failed", "It is broken.")))
        elif isinstance(frame, Load):
            self._say(Loaded(_describe(frame)))
        elif isinstance(frame, Generate):
            said = (PromptProgress(1, 1), MessageDelta("Hi"), ChatEnd("eosFound", Usage(1, 1)))
            self._say(Step((SequenceEvents(frame.id, said),), 0, 0))
        elif isinstance(frame, frames.Close):
            self._end(0)

    def kill(self) -> None:
        self._end(-signal.SIGKILL)

    async def finish(self) -> int:
        return await asyncio.shield(self.death)

    async def stop(self, timings: Timings) -> int:
        self._end(0)
        return await self.finish()

    def _say(self, frame: FromWorker) -> None:
        self._loop.call_soon(self._pass_on, frame)

    def _pass_on(self, frame: FromWorker) -> None:
        if not self.death.done():
            self._on_frame(frame)

    def _end(self, returncode: int) -> None:
        self.alive.pop(self.pid, None)
        if not self.death.done():
            self.death.set_result(returncode)


def _describe(load: Load) -> ModelInfo:
    return ModelInfo(
        engine="scripted",
        engine_version="1",
        type="llm",
        architecture="scripted",
        context_length=int(load.config.get("context_length") or 4096),
        max_sequences=4,
        vocab_size=100,
        embedding_length=1,
    )
