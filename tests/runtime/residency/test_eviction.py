"""Who makes room: against every possible choice on all small cases, and rule by rule."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.runtime.residency.claims import Claim
from lmrun.runtime.residency.eviction import (
    Candidate,
    Decision,
    Newcomer,
    Policy,
    Tenant,
    choose_victims,
    decide,
    relieve,
)


def best_by_trying_all(candidates: list[Candidate], needed: int) -> tuple[Candidate, ...] | None:
    """The definition: of all sets that give back enough the smallest ones, and of these the one
    whose ranks, highest first, are the lowest."""
    sets = [
        chosen
        for count in range(len(candidates) + 1)
        for chosen in combinations(candidates, count)
        if sum(it.memory_bytes for it in chosen) >= needed
    ]
    if not sets:
        return None
    best = min(
        sets, key=lambda chosen: (len(chosen), sorted((it.rank for it in chosen), reverse=True))
    )
    return tuple(sorted(best, key=lambda it: it.rank))


def make(sizes: tuple[int, ...], times: tuple[int, ...]) -> list[Candidate]:
    return [
        Candidate(f"m{number}", size, float(time))
        for number, (size, time) in enumerate(zip(sizes, times, strict=True))
    ]


@pytest.mark.parametrize("count", range(5))
def test_small_cases_equal_brute_force(count: int) -> None:
    for sizes in product((0, 2, 5), repeat=count):
        for times in product((0, 1, 2), repeat=count):
            candidates = make(sizes, times)
            for needed in {1, 4, sum(sizes), sum(sizes) + 1}:
                assert choose_victims(candidates, needed) == best_by_trying_all(candidates, needed)


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), min_size=5, max_size=6),
    st.integers(0, 50),
)
def test_cases_of_five_and_six_equal_brute_force(
    instances: list[tuple[int, int]], needed: int
) -> None:
    sizes, times = zip(*instances, strict=True)
    candidates = make(sizes, times)
    assert choose_victims(candidates, needed) == best_by_trying_all(candidates, needed)


def names(*victims: Candidate) -> list[str]:
    return [it.identifier for it in victims]


def test_one_that_does_goes_rather_than_two_that_were_used_earlier() -> None:
    candidates = [Candidate("old", 4, 1), Candidate("older", 4, 0), Candidate("large", 8, 9)]
    assert names(*choose_victims(candidates, 8) or ()) == ["large"]


def test_of_those_that_do_the_least_recently_used_one_goes() -> None:
    candidates = [Candidate("new", 8, 9), Candidate("old", 9, 1)]
    assert names(*choose_victims(candidates, 8) or ()) == ["old"]


def test_of_those_used_at_the_same_time_the_smallest_goes() -> None:
    candidates = [Candidate("large", 9, 1), Candidate("small", 8, 1)]
    assert names(*choose_victims(candidates, 8) or ()) == ["small"]


def tenant(size: int, used: float = 0, **fields: bool) -> Tenant:
    given = {"is_evictable": True, "is_busy": False, **fields}
    return Tenant(Claim(size, 0, Path("/m")), used, **given)


def newcomer(size: int, *, is_jit: bool = True, identifier: str = "new") -> Newcomer:
    return Newcomer(identifier, Claim(size, 0, Path("/new")), is_jit)


def test_nobody_leaves_for_one_that_fits() -> None:
    assert decide(newcomer(5), {"a": tenant(5)}, 10, "memory") == Decision()


def test_an_idle_one_leaves_before_one_that_is_used() -> None:
    tenants = {"busy": tenant(5, 0, is_busy=True), "idle": tenant(5, 9)}
    assert decide(newcomer(5), tenants, 10, "memory") == Decision(("idle",))


def test_one_that_is_used_is_waited_for_when_nobody_else_will_do() -> None:
    tenants = {"busy": tenant(5, 0, is_busy=True), "declared": tenant(5, is_evictable=False)}
    assert decide(newcomer(5), tenants, 10, "memory") == Decision(("busy",))


def test_who_must_stay_is_said_by_what_is_missing() -> None:
    tenants = {"declared": tenant(8, is_evictable=False), "idle": tenant(1)}
    assert decide(newcomer(5), tenants, 10, "memory") == Decision(missing_bytes=3)


def test_what_is_replaced_does_not_count() -> None:
    assert decide(newcomer(9, identifier="a"), {"a": tenant(8)}, 10, "memory") == Decision()


@pytest.mark.parametrize(
    ("policy", "is_jit", "victims"),
    [("one", True, ("a", "b")), ("one", False, ()), ("memory", True, ()), ("off", True, ())],
)
def test_one_at_a_time_is_for_what_requests_load(
    policy: Policy, is_jit: bool, victims: tuple[str, ...]
) -> None:
    tenants = {"a": tenant(1), "b": tenant(1), "declared": tenant(1, is_evictable=False)}
    assert decide(newcomer(1, is_jit=is_jit), tenants, 10, policy).victims == victims


def test_nobody_is_evicted_where_that_is_off() -> None:
    assert decide(newcomer(5), {"a": tenant(8)}, 10, "off") == Decision(missing_bytes=3)
    assert relieve({"a": tenant(80)}, 10, "off") == ()


def test_pages_that_two_share_come_back_with_both() -> None:
    shared = Claim(1, 6, Path("/same"))
    tenants = {name: Tenant(shared, 0, True, False) for name in ("a", "b")}
    assert decide(newcomer(8), tenants, 10, "memory") == Decision(("a", "b"))
    assert decide(newcomer(4), tenants, 10, "memory").victims == ("a", "b")
    assert decide(newcomer(2), tenants, 10, "memory") == Decision()
    assert decide(newcomer(3), tenants, 10, "memory").victims == ("a",)


def test_only_idle_ones_leave_when_all_took_more_than_was_thought() -> None:
    tenants = {"idle": tenant(3), "busy": tenant(9, is_busy=True)}
    assert relieve(tenants, 10, "memory") == ("idle",)
    assert relieve(tenants, 8, "memory") == ("idle",)
    assert relieve(tenants, 12, "memory") == ()
