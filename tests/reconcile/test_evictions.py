"""A plan says who makes room for what it loads, one action after the other. Values only."""

from __future__ import annotations

from pathlib import Path

from lmrun.profile.schema import ModelConfig, ServerConfig
from lmrun.reconcile.desired import Desired, DesiredModel
from lmrun.reconcile.evictions import Room, foresee_evictions
from lmrun.reconcile.outcome import Action, Plan
from lmrun.runtime.residency.claims import Claim
from lmrun.runtime.residency.eviction import Tenant

MIB = 2**20


def claim(name: str, mib: int) -> Claim:
    return Claim(mib * MIB, 0, Path(f"/{name}"))


def tenant(name: str, mib: int, *, is_evictable: bool = True, last_used_s: float = 0.0) -> Tenant:
    return Tenant(claim(name, mib), last_used_s, is_evictable, is_busy=False)


def want(**sizes: int) -> Desired:
    config = ModelConfig(source="file:/m.gguf")
    models = (
        DesiredModel(name, config, None, None, claim=claim(name, mib))
        for name, mib in sizes.items()
    )
    return Desired(ServerConfig(), tuple(models))


def load(name: str) -> Action:
    return Action("Load", name, name, ())


def foresee(actions: list[Action], desired: Desired, room: Room) -> dict[str, Action]:
    plan = foresee_evictions(Plan(1, tuple(actions)), desired, room)
    return {action.target: action for action in plan.actions}


def test_what_fits_lets_nobody_leave() -> None:
    room = Room({"old": tenant("old", 40)}, 100 * MIB)
    assert foresee([load("a")], want(a=60), room)["a"].evicts == ()
    assert room.free_bytes == 60 * MIB


def test_as_few_as_will_do_leave_and_the_next_load_finds_them_gone() -> None:
    room = Room({"x": tenant("x", 30), "y": tenant("y", 60, last_used_s=9.0)}, 100 * MIB)
    actions = foresee([load("a"), load("b")], want(a=40, b=30), room)
    assert actions["a"].evicts == ("x",)
    assert actions["b"].evicts == ("y",)


def test_what_is_unloaded_first_has_not_to_be_evicted() -> None:
    room = Room({"x": tenant("x", 60)}, 100 * MIB)
    actions = foresee([Action("Unload", "x", "x", ()), load("a")], want(a=80), room)
    assert actions["a"].evicts == ()


def test_what_cannot_fit_is_a_problem_with_its_figure() -> None:
    room = Room({"x": tenant("x", 60, is_evictable=False)}, 100 * MIB)
    action = foresee([load("a")], want(a=80), room)["a"]
    assert action.problem == "It needs 40 MiB more than can be made free."
    assert action.evicts == ()


def test_without_a_limit_nothing_is_foreseen() -> None:
    room = Room({"x": tenant("x", 60)})
    assert foresee([load("a")], want(a=80), room)["a"] == load("a")
    assert room.free_bytes is None
