"""A saved plan holds as long as the same would be done, for the same reasons. Values only."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lmrun.errors import ProfileSuperseded
from lmrun.reconcile.outcome import Action, FieldChange, FileDigest, MemoryPrice, Plan
from lmrun.reconcile.saved import find_moves, require_unmoved

CHANGE = FieldChange("models.a.load.context_length", "64", "128")
RELOAD = Action("Reload", "a", "a", (CHANGE,), rollout="blue_green")
LOAD = Action("Load", "b", "b", ())
FILES = (FileDigest("/p.yaml", "0"), FileDigest("/base.yaml", "1"))
SAVED = Plan(3, (RELOAD, LOAD), files=FILES)


def test_the_same_plan_at_another_price_holds() -> None:
    dearer = replace(RELOAD, seconds=9.0, memory_bytes=5, streams=7, clients=("ci",))
    now = replace(SAVED, actions=(dearer, LOAD), memory=MemoryPrice(1, 2, 3))
    require_unmoved(SAVED, now)


@pytest.mark.parametrize(
    ("now", "move"),
    [
        (
            replace(SAVED, base_generation=4),
            "it was made against generation 3, and 4 is applied",
        ),
        (replace(SAVED, files=(FileDigest("/p.yaml", "9"), FILES[1])), "/p.yaml has changed"),
        (
            replace(SAVED, files=FILES[:1]),
            "/base.yaml is no part of the profile any more",
        ),
        (
            replace(SAVED, files=(*FILES, FileDigest("/more.yaml", "2"))),
            "/more.yaml is a new part of the profile",
        ),
        (replace(SAVED, actions=(RELOAD,)), "Load of b is no longer needed"),
        (
            replace(SAVED, actions=(RELOAD, LOAD, Action("Unload", "c", "c", ()))),
            "Unload of c would come along",
        ),
        (
            replace(SAVED, actions=(replace(RELOAD, rollout="recreate"), LOAD)),
            "Reload of a would be done by recreate instead of blue_green",
        ),
        (
            replace(SAVED, actions=(replace(RELOAD, changes=(replace(CHANGE, old="32"),)), LOAD)),
            "models.a.load.context_length was 64 and is 32",
        ),
        (
            replace(SAVED, actions=(replace(RELOAD, changes=(replace(CHANGE, new="32"),)), LOAD)),
            "models.a.load.context_length would become 32 instead of 128",
        ),
        (
            replace(SAVED, actions=(replace(RELOAD, changes=()), LOAD)),
            "models.a.load.context_length is as the profile says by now",
        ),
        (
            replace(
                SAVED,
                actions=(replace(RELOAD, changes=(CHANGE, FieldChange("x", None, "1"))), LOAD),
            ),
            "x is unset now, and would become 1",
        ),
    ],
)
def test_what_has_moved_is_named(now: Plan, move: str) -> None:
    assert [*find_moves(SAVED, now)] == [move]
    with pytest.raises(ProfileSuperseded, match="does not hold any more"):
        require_unmoved(SAVED, now)


def test_a_long_list_is_cut_and_counted() -> None:
    actions = tuple(Action("Load", f"m{n}", f"m{n}", ()) for n in range(30))
    with pytest.raises(ProfileSuperseded, match=r"; 20 more\."):
        require_unmoved(Plan(1, actions), Plan(1, ()))
