"""Where a run writes down each step, before what follows from it. It knows no step's meaning."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import msgspec

from lmrun.failpoints import reach
from lmrun.store.runs import StoredRuns
from lmrun.tools.act.opening import Opened
from lmrun.tools.act.outlet import shield
from lmrun.tools.act.steps import Answered, CallFinished, CallStarted, Step

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Step).decode


class Journal(Protocol):
    """Of one run."""

    async def write(self, step: Step) -> None:
        """Keep `step`; it is kept when this ends. Raises StoreError."""
        ...


class NoJournal:
    """Of a run that ends with whoever asked for it."""

    async def write(self, step: Step) -> None:
        pass


@dataclass(frozen=True, slots=True)
class StoredJournal:
    """In the store, under the run's id."""

    store: StoredRuns
    run: str

    async def write(self, step: Step) -> None:
        """A step that is being written is written, even if the run is cancelled meanwhile."""
        await shield(asyncio.to_thread(self._write, step))

    def _write(self, step: Step) -> None:
        content = _encode(step)
        match step:
            case Opened():
                reach("act.opening")
                self.store.append(self.run, content)
                reach("act.opened")
            case Answered():
                reach("act.answering")
                self.store.append(self.run, content)
                reach("act.answered")
            case CallStarted():
                reach("act.call_starting")
                self.store.append(self.run, content)
                reach("act.call_started")
            case CallFinished():
                reach("act.call_finishing")
                self.store.append(self.run, content)
                reach("act.call_finished")


def read_steps(store: StoredRuns, run: str) -> list[Step]:
    """All steps of a run, in their order. Blocks; raises StoreError."""
    return [_decode(content) for content in store.read_steps(run)]
