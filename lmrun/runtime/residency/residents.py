"""Room in memory: who gets it, who has to leave for it, and who has been idle for too long.

Leaving is by lease: whoever uses an instance is waited for, and whoever wants it meanwhile waits
until it can be loaded again. It does not load anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from lmrun.errors import MemoryFull, ModelTooLarge
from lmrun.runtime.residency.claims import Claim, sum_claims
from lmrun.runtime.residency.eviction import Decision, Newcomer, Tenant, decide, relieve
from lmrun.runtime.residency.rules import Rules
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.supervisor import Supervisor

log = logging.getLogger("lmrun.memory")

_GIB = 2**30
_MIB = 2**20

Estimating = Callable[[InstanceSpec], Awaitable[Claim]]


async def claim_nothing(spec: InstanceSpec) -> Claim:
    """For a pool that nobody told what its instances take."""
    return Claim(0, 0, spec.path)


class Residents:
    """`supervisors`: those of the pool, by identifier. `rules`: as they are at that moment.
    `estimate`: what a load will take. `clock`: seconds, never going back."""

    def __init__(
        self,
        supervisors: Mapping[str, Supervisor],
        *,
        unload: Callable[[str], Awaitable[None]],
        rules: Callable[[], Rules] = Rules,
        estimate: Estimating = claim_nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._supervisors = supervisors
        self._unload = unload
        self._rules = rules
        self._estimate = estimate
        self._clock = clock
        self._claims: dict[str, Claim] = {}
        self._last_used_s: dict[str, float] = {}
        self._served: set[str] = set()
        self._expected: dict[str, Claim] = {}
        self._wanted: Counter[str] = Counter()
        self._unwanted = asyncio.Event()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self._ahead: Newcomer | None = None

    @property
    def rules(self) -> Rules:
        return self._rules()

    @property
    def claimed_bytes(self) -> int:
        """What all instances take together, by measure where there is one."""
        return sum_claims(self.claims.values())

    @property
    def claims(self) -> Mapping[str, Claim]:
        """By identifier; what has failed holds nothing any more."""
        return {
            name: claim
            for name, claim in self._claims.items()
            if name not in self._supervisors or self._supervisors[name].instance.state != "failed"
        }

    @property
    def tenants(self) -> Mapping[str, Tenant]:
        """Who holds memory, by identifier."""
        return self._tenants()

    def waiting_for(self, *names: str) -> int:
        """Requests that wait until one of these names is loaded."""
        return sum(self._wanted[name] for name in names)

    def idle_s(self, identifier: str) -> float | None:
        """How long nobody has used the instance; None while somebody does."""
        supervisor = self._supervisors.get(identifier)
        if supervisor is None or self._is_busy(supervisor):
            return None
        return self._clock() - self._last_used_s.get(identifier, self._clock())

    @contextmanager
    def wanting(self, name: str) -> Iterator[None]:
        """A request waits for the load of `name`: what is loaded for it is not idle."""
        self._wanted[name] += 1
        try:
            yield
        finally:
            self._wanted[name] -= 1
            self._unwanted.set()
            self._unwanted = asyncio.Event()

    def note_use(self, identifier: str) -> None:
        """It was used until now."""
        self._last_used_s[identifier] = self._clock()

    def note_served(self, identifier: str) -> None:
        """A lease on it has ended."""
        self.note_use(identifier)
        self._served.add(identifier)

    def has_served(self, identifier: str) -> bool:
        """Whether it has done any work since it was loaded."""
        return identifier in self._served

    async def make_room(self, spec: InstanceSpec) -> None:
        """Keep room for `spec` from now on, and let others leave for it. Repeating it is cheap.

        Raises ModelTooLarge when it does not fit even alone, MemoryFull when it does not fit
        beside those that stay, and what looking into its file raises.
        """
        if spec.identifier in self._leaving:
            await asyncio.wait({self._leaving[spec.identifier]})
        claim = self._expected[spec.identifier] = await self._estimate(spec)
        known = self.claims.get(spec.identifier)
        newcomer = Newcomer(
            spec.identifier,
            claim if known is None else claim.at_least(known),
            spec.residency.origin == "jit",
        )
        if self._ahead is not None and self._fits_beside(newcomer, self._ahead):
            self._settle(newcomer)
            return
        async with self._turn:
            self._ahead = newcomer
            try:
                while (decision := self._decide(newcomer)).victims:
                    await asyncio.gather(*map(self.leave, decision.victims))
                self._require_room(newcomer, decision)
                self._settle(newcomer)
            finally:
                self._ahead = None

    async def make_room_beside(self, spec: InstanceSpec) -> bool:
        """Keep room for a second version of an instance, for which nobody has to leave; whether
        there is any. Raises what looking into its file raises."""
        claim = await self._estimate(spec)
        limit = self._rules().limit_bytes
        if limit is not None and sum_claims([claim, *self.claims.values()]) > limit:
            return False
        self._claims[_beside(spec.identifier)] = claim
        return True

    def note_switched(self, identifier: str) -> None:
        """The second version has taken the place of the first, which is on its way out."""
        second = self._claims.pop(_beside(identifier))
        if identifier in self._claims:
            self._claims[_beside(identifier)] = self._claims[identifier]
        self._claims[identifier] = second
        self._served.discard(identifier)
        self.note_use(identifier)

    def give_back_beside(self, identifier: str) -> None:
        """There is only one version of the instance any more."""
        self._claims.pop(_beside(identifier), None)

    def note_loaded(self, identifier: str) -> None:
        """It is there, and what it replaces is not any more."""
        self._claims[identifier] = self._expected[identifier]
        self._served.discard(identifier)
        self.note_use(identifier)

    def correct(self, identifier: str, claim: Claim) -> None:
        """What an instance was measured to take."""
        if identifier in self._claims:
            self._claims[identifier] = claim

    def give_back(self, identifier: str) -> None:
        """Its process is gone, or never came to be."""
        self._claims.pop(identifier, None)
        self._expected.pop(identifier, None)
        self._last_used_s.pop(identifier, None)
        self._served.discard(identifier)

    async def leave(self, identifier: str) -> None:
        """Unload an instance when nobody uses it any more; requests that come meanwhile wait
        until it has left. Returns when its process is gone."""
        task = self._leaving.get(identifier)
        if task is None:
            task = asyncio.create_task(self._see_out(identifier), name=f"evict {identifier}")
            supervisor = self._supervisors.get(identifier)
            if supervisor is not None and not self._is_busy(supervisor):
                # At once: nobody can come in before the task begins.
                supervisor.hold()
            self._leaving[identifier] = task
            task.add_done_callback(lambda _: self._leaving.pop(identifier, None))
        await asyncio.shield(task)

    async def until_left(self, identifier: str) -> None:
        """Wait while it leaves."""
        if identifier in self._leaving:
            await asyncio.wait({self._leaving[identifier]})

    def find_expired(self) -> tuple[str, ...]:
        """Instances that have been idle for longer than they may."""
        return tuple(
            name
            for name, it in self._supervisors.items()
            if (limit := it.instance.spec.residency.idle_limit_s) is not None
            and it.instance.state == "ready"
            and name not in self._leaving
            and (self.idle_s(name) or 0.0) >= limit
        )

    def find_excess(self) -> tuple[str, ...]:
        """Idle instances that have to go, since all together take more than was thought."""
        limit = self._rules().limit_bytes
        if limit is None:
            return ()
        return relieve(self._tenants(), limit, self._rules().policy)

    def seconds_to_next_expiry(self) -> float | None:
        """Until the next instance has been idle for too long; None when none is about to be."""
        waits = [
            limit - idle_s
            for name, it in self._supervisors.items()
            if (limit := it.instance.spec.residency.idle_limit_s) is not None
            and (idle_s := self.idle_s(name)) is not None
        ]
        return max(0.0, min(waits)) if waits else None

    async def _see_out(self, identifier: str) -> None:
        supervisor = self._supervisors.get(identifier)
        if supervisor is None:
            return
        if not supervisor.is_held:
            await self._until_arrived(supervisor)
            supervisor.hold()
        await supervisor.until_unused(None)
        if self._supervisors.get(identifier) is not supervisor:
            return
        # Nothing is awaited between the end of the last lease and this.
        supervisor.supersede()
        await self._unload(identifier)

    async def _until_arrived(self, supervisor: Supervisor) -> None:
        """Wait until it is loaded and whoever it was loaded for has got it."""
        names = _names(supervisor)
        await supervisor.until_settled()
        while self.waiting_for(*names):
            await self._unwanted.wait()

    def _settle(self, newcomer: Newcomer) -> None:
        self._claims[newcomer.identifier] = newcomer.claim
        self.note_use(newcomer.identifier)

    def _fits_beside(self, newcomer: Newcomer, ahead: Newcomer) -> bool:
        """Whether it can be loaded at once, and takes nothing that is being made free."""
        limit = self._rules().limit_bytes
        if limit is None:
            return True
        others = {name: it for name, it in self.claims.items() if name != newcomer.identifier}
        staying = [it for name, it in others.items() if name not in self._leaving]
        now = sum_claims([newcomer.claim, *others.values()])
        then = sum_claims([newcomer.claim, ahead.claim, *staying])
        return max(now, then) <= limit

    def _decide(self, newcomer: Newcomer) -> Decision:
        rules = self._rules()
        limit = rules.limit_bytes
        if limit is None:
            # Without a limit the policy `one` still means one.
            limit = sum_claims([newcomer.claim, *self.claims.values()])
        return decide(newcomer, self._tenants(), limit, rules.policy)

    def _tenants(self) -> dict[str, Tenant]:
        return {name: self._to_tenant(name, claim) for name, claim in self.claims.items()}

    def _to_tenant(self, identifier: str, claim: Claim) -> Tenant:
        supervisor = self._supervisors.get(identifier)
        residency = supervisor.instance.spec.residency if supervisor is not None else None
        return Tenant(
            claim,
            self._last_used_s.get(identifier, 0.0),
            # One that is still being loaded has just been given its room.
            is_evictable=residency is not None and residency.is_evictable,
            is_busy=supervisor is None or self._is_busy(supervisor),
        )

    def _is_busy(self, supervisor: Supervisor) -> bool:
        instance = supervisor.instance
        is_wanted = self.waiting_for(*_names(supervisor)) > 0
        return instance.in_flight > 0 or is_wanted or instance.state == "loading"

    def _require_room(self, newcomer: Newcomer, decision: Decision) -> None:
        limit = self._rules().limit_bytes
        if decision.missing_bytes <= 0 or limit is None:
            return
        needed = newcomer.claim.total
        figures = f"{newcomer.identifier!r} needs {_show(needed)} of memory"
        if needed > limit:
            raise ModelTooLarge(
                f"{figures}; all models together may take {_show(limit)}.",
                hint=_HINT,
            )
        staying = sum_claims(it for name, it in self.claims.items() if name != newcomer.identifier)
        raise MemoryFull(
            f"{figures}, {_show(decision.missing_bytes)} more than can be made free: others hold "
            f"{_show(staying)} of {_show(limit)}.",
            hint=_HINT,
        )


_HINT = (
    "`load.context_length`, `load.max_parallel_predictions` and `load.prefix_cache.ram` decide how "
    "much it needs, `server.memory.limit` how much there is."
)


def _names(supervisor: Supervisor) -> set[str]:
    """What requests may call it."""
    spec = supervisor.instance.spec
    return {spec.identifier, spec.model_key}


def _beside(identifier: str) -> str:
    """What the second version of an instance is called here; no identifier has a space."""
    return f"{identifier} beside"


def _show(size: int) -> str:
    return f"{size / _GIB:.2f} GiB" if size >= _GIB else f"{size / _MIB:.1f} MiB"
