"""Who makes room for whom. Pure: values in, a decision out; it unloads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Literal

from lmrun.runtime.residency.claims import Claim, count_freed, sum_claims

Policy = Literal["memory", "one", "off"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """`memory_bytes`: what its end gives back. `last_used_s`: on whatever clock all share."""

    identifier: str
    memory_bytes: int
    last_used_s: float

    @property
    def rank(self) -> tuple[float, int, str]:
        """Who goes first: the least recently used, then who has the fewest bytes."""
        return self.last_used_s, self.memory_bytes, self.identifier


def choose_victims(
    candidates: Sequence[Candidate], needed_bytes: int
) -> tuple[Candidate, ...] | None:
    """As few as give back `needed_bytes`; None when all together do not.

    Of several such choices the one whose highest rank is the lowest, then whose second highest is,
    and so on: nobody is evicted who was used later than need be. In the order of their ranks.
    """
    if sum(it.memory_bytes for it in candidates) < needed_bytes:
        return None
    count = next(
        count for count in range(len(candidates) + 1) if _largest(candidates, count) >= needed_bytes
    )
    order = sorted(candidates, key=lambda it: it.rank)
    victims: list[Candidate] = []
    while count:
        # The shortest part of the order that still has enough: its last one cannot be spared.
        end = next(
            end
            for end in range(count, len(order) + 1)
            if _largest(order[:end], count) >= needed_bytes
        )
        victims.insert(0, order[end - 1])
        needed_bytes -= order[end - 1].memory_bytes
        order, count = order[: end - 1], count - 1
    return tuple(victims)


def _largest(candidates: Sequence[Candidate], count: int) -> int:
    return sum(nlargest(count, (it.memory_bytes for it in candidates)))


@dataclass(frozen=True, slots=True)
class Tenant:
    """An instance that holds memory. `is_busy`: somebody uses it or waits for it."""

    claim: Claim
    last_used_s: float
    is_evictable: bool
    is_busy: bool


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An instance that wants to be loaded. `is_jit`: for a request."""

    identifier: str
    claim: Claim
    is_jit: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """`victims`: who has to go first, at once or when it is idle; with none, the newcomer may be
    loaded. `missing_bytes`: what it lacks even when everybody has gone who may; 0 when it fits.
    """

    victims: tuple[str, ...] = ()
    missing_bytes: int = 0


def decide(
    newcomer: Newcomer, tenants: Mapping[str, Tenant], limit_bytes: int, policy: Policy
) -> Decision:
    """How the newcomer gets its room. An instance of its own identifier is replaced by it."""
    others = {name: it for name, it in tenants.items() if name != newcomer.identifier}
    movable = {name: it for name, it in others.items() if it.is_evictable and policy != "off"}
    if policy == "one" and newcomer.is_jit and movable:
        return Decision(tuple(sorted(movable)))
    missing = _missing(newcomer, others, limit_bytes)
    if missing <= 0:
        return Decision()
    # Who is idle goes at once; only where these are too few does one wait for the others' ends.
    for are_busy_too in (False, True):
        victims = _choose(newcomer, others, movable, missing, are_busy_too=are_busy_too)
        if victims is not None:
            return Decision(victims)
    staying = {name: it for name, it in others.items() if name not in movable}
    least = _missing(newcomer, staying, limit_bytes)
    # Pages that several share are given back by the last of them alone.
    return Decision(tuple(sorted(movable))) if least <= 0 else Decision(missing_bytes=least)


def relieve(tenants: Mapping[str, Tenant], limit_bytes: int, policy: Policy) -> tuple[str, ...]:
    """Who has to go because all together took more than was estimated: the idle ones that do it,
    or all of them."""
    excess = sum_claims(it.claim for it in tenants.values()) - limit_bytes
    if excess <= 0 or policy == "off":
        return ()
    idle = {name: it for name, it in tenants.items() if it.is_evictable and not it.is_busy}
    victims = choose_victims(_to_candidates(idle, tenants), excess)
    return tuple(sorted(idle)) if victims is None else tuple(it.identifier for it in victims)


def _choose(
    newcomer: Newcomer,
    others: Mapping[str, Tenant],
    movable: Mapping[str, Tenant],
    missing: int,
    *,
    are_busy_too: bool,
) -> tuple[str, ...] | None:
    allowed = {name: it for name, it in movable.items() if are_busy_too or not it.is_busy}
    victims = choose_victims(_to_candidates(allowed, others, newcomer), missing)
    return None if victims is None else tuple(it.identifier for it in victims)


def _missing(newcomer: Newcomer, others: Mapping[str, Tenant], limit_bytes: int) -> int:
    claims = [newcomer.claim, *(it.claim for it in others.values())]
    return sum_claims(claims) - limit_bytes


def _to_candidates(
    movable: Mapping[str, Tenant], all_: Mapping[str, Tenant], newcomer: Newcomer | None = None
) -> list[Candidate]:
    claims = {name: it.claim for name, it in all_.items()}
    if newcomer is not None:
        claims |= {newcomer.identifier: newcomer.claim}
    return [
        Candidate(name, count_freed(name, claims), it.last_used_s) for name, it in movable.items()
    ]
