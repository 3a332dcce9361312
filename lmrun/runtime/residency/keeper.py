"""The one who looks after memory while the server runs: what was idle for too long leaves, what
takes more than was thought is corrected. It loads nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from lmrun.errors import LmrunError
from lmrun.runtime.instance import Instance
from lmrun.runtime.process.memory import ProcessMemory, read_memory
from lmrun.runtime.residency.claims import Claim
from lmrun.runtime.residency.residents import Residents
from lmrun.runtime.spec import InstanceSpec

log = logging.getLogger("lmrun.memory")

LOOK_EVERY_S = 2.0
_NEWS_SHARE = 0.01


class Ledger(Protocol):
    """Where it is kept what loads were seen to take. Every method blocks."""

    def note_memory(self, spec: InstanceSpec, memory_bytes: int) -> None:
        """Bytes, without the prefix cache. Raises StoreError."""


class NoLedger:
    """Nothing is kept."""

    def note_memory(self, spec: InstanceSpec, memory_bytes: int) -> None:
        pass


@dataclass(slots=True)
class Keeper:
    """`instances`: those of now. `read`: what a process holds."""

    residents: Residents
    instances: Callable[[], Mapping[str, Instance]]
    ledger: Ledger = field(default_factory=NoLedger)
    read: Callable[[int], ProcessMemory | None] = read_memory
    _most: dict[int, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            wait_s = self.residents.seconds_to_next_expiry()
            await asyncio.sleep(min(LOOK_EVERY_S, LOOK_EVERY_S if wait_s is None else wait_s))

    async def look(self) -> None:
        """Correct, note, and see out whoever has to go."""
        noted = [it for it in self.instances().values() if self._correct(it)]
        await asyncio.to_thread(self._note, noted)
        for name in self.residents.find_expired():
            idle_s = self.residents.idle_s(name) or 0.0
            log.info("%s leaves: nobody has used it for %.0f s", name, idle_s)
            await self.residents.leave(name)
        for name in self.residents.find_excess():
            log.info("%s leaves: all models together take more than they may", name)
            await self.residents.leave(name)

    def _correct(self, instance: Instance) -> bool:
        """Claim what it holds; whether that is more than it was ever seen to hold."""
        spec, pid, usage = instance.spec, instance.pid, instance.usage
        held = self.read(pid) if pid is not None and instance.state == "ready" else None
        if held is None or pid is None or usage is None:
            return False
        parked = usage.prefix_cache_bytes
        growth = max(0, usage.prefix_cache_limit - parked)
        measured = Claim(held.anonymous + growth, held.mapped, spec.path)
        claimed = self.residents.claims.get(spec.identifier, measured)
        # Pages come with use: before that a measure says too little.
        has_worked = self.residents.has_served(spec.identifier)
        self.residents.correct(
            spec.identifier, measured if has_worked else claimed.at_least(measured)
        )
        taken = held.anonymous + held.mapped - parked
        if not has_worked or taken <= self._most.get(pid, 0) * (1 + _NEWS_SHARE):
            return False
        alive = {it.pid for it in self.instances().values()}
        self._most = {known: most for known, most in self._most.items() if known in alive}
        self._most[pid] = taken
        return True

    def _note(self, instances: list[Instance]) -> None:
        for instance in instances:
            if instance.pid in self._most:
                with suppress(LmrunError):
                    # What cannot be kept is measured again another time.
                    self.ledger.note_memory(instance.spec, self._most[instance.pid])
