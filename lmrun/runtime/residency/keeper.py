"""The one who looks after memory while the server runs: what was idle for too long leaves, what
takes more than was thought is corrected. It loads nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from lmrun.errors import LmrunError
from lmrun.runtime.instance import Instance
from lmrun.runtime.process.memory import ProcessMemory, read_memory
from lmrun.runtime.residency.claims import Claim
from lmrun.runtime.residency.residents import Residents
from lmrun.runtime.spec import InstanceSpec

log = logging.getLogger("lmrun.memory")

LOOK_EVERY_S = 2.0
_NEWS_SHARE = 0.01


class Most(NamedTuple):
    """The most that a process was seen to hold; `taken`: bytes, without its prefix cache."""

    claim: Claim
    taken: int


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
    _most: dict[int, Most] = field(default_factory=dict)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            wait_s = self.residents.seconds_to_next_expiry()
            await asyncio.sleep(min(LOOK_EVERY_S, LOOK_EVERY_S if wait_s is None else wait_s))

    async def look(self) -> None:
        """Correct, note, and see out whoever has to go."""
        noted = [it for it in self.instances().values() if self._correct(it)]
        if noted:
            await asyncio.to_thread(self._note, noted)
        # Looked for anew each time: while one leaves, others may be used again.
        while expired := self.residents.find_expired():
            idle_s = self.residents.idle_s(expired[0]) or 0.0
            log.info("%s leaves: nobody has used it for %.0f s", expired[0], idle_s)
            await self.residents.leave(expired[0])
        while excess := self.residents.find_excess():
            log.info("%s leaves: all models together take more than they may", excess[0])
            await self.residents.leave(excess[0])

    def _correct(self, instance: Instance) -> bool:
        """Claim what it holds; whether that is more than its process was ever seen to hold."""
        spec, pid, usage = instance.spec, instance.pid, instance.usage
        held = self.read(pid) if pid is not None and instance.state == "ready" else None
        if held is None or pid is None or usage is None:
            return False
        growth = max(0, usage.prefix_cache_limit - usage.prefix_cache_bytes)
        measured = Claim(held.anonymous + growth, held.mapped, spec.path)
        if not self.residents.has_served(spec.identifier):
            # Pages come with use: before that a measure says too little.
            claimed = self.residents.claims.get(spec.identifier, measured)
            self.residents.correct(spec.identifier, claimed.at_least(measured))
            return False
        most = self._most.get(pid)
        claim = measured if most is None else measured.at_least(most.claim)
        self.residents.correct(spec.identifier, claim)
        taken = held.anonymous + held.mapped - usage.prefix_cache_bytes
        is_news = most is None or taken > most.taken * (1 + _NEWS_SHARE)
        self._remember(pid, Most(claim, taken if is_news or most is None else most.taken))
        return is_news

    def _remember(self, pid: int, most: Most) -> None:
        alive = {it.pid for it in self.instances().values()}
        self._most = {known: it for known, it in self._most.items() if known in alive}
        self._most[pid] = most

    def _note(self, instances: list[Instance]) -> None:
        for instance in instances:
            if instance.pid in self._most:
                with suppress(LmrunError):
                    # What cannot be kept is measured again another time.
                    self.ledger.note_memory(instance.spec, self._most[instance.pid].taken)
