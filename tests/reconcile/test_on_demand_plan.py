"""What a plan says of models that requests load, and of why an instance is there. Values only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lmrun.reconcile.desired import DesiredModel
from lmrun.runtime.residency.residency import DECLARED, Residency
from lmrun.settings.load import LoadConfig
from tests.reconcile.test_plan import model, plan, ready, spec

JIT = Residency("jit", ttl_s=60)
OTHER = LoadConfig(context_length=64)


def on_demand(**changes: Any) -> DesiredModel:
    wanted = model(spec(residency=JIT, **changes), state="on_demand")
    return replace(wanted, residency=JIT)


def kinds(models: list[DesiredModel], instances: list[Any]) -> list[str]:
    return [action.kind for action in plan(models, instances)]


def test_what_requests_load_is_loaded_by_no_plan_and_stays_when_it_is_there() -> None:
    assert kinds([on_demand()], []) == []
    assert kinds([on_demand()], [ready(spec(residency=JIT))]) == []
    asked = replace(JIT, asked_ttl_s=5)
    assert kinds([on_demand()], [ready(spec(residency=asked))]) == []


def test_what_is_otherwise_now_goes_if_it_is_idle_and_is_replaced_if_it_is_used() -> None:
    there = spec(residency=JIT)
    (action,) = plan([on_demand(load=OTHER)], [ready(there)])
    assert (action.kind, action.changes[0].field) == ("Unload", "models.a.load.context_length")
    assert kinds([on_demand(load=OTHER)], [ready(there, in_flight=1)]) == ["Reload"]


def test_what_failed_is_cleared_away() -> None:
    assert kinds([on_demand()], [ready(spec(residency=JIT), state="failed")]) == ["Unload"]
    assert kinds([on_demand()], [ready(spec(residency=JIT), state="stopped")]) == []


@pytest.mark.parametrize(
    ("there", "wanted", "changes"),
    [
        (JIT, DECLARED, ["models.a.state"]),
        (DECLARED, JIT, ["models.a.state"]),
        (Residency("hand"), DECLARED, ["models.a.state"]),
        (Residency("hand"), JIT, []),
        (replace(JIT, ttl_s=5), JIT, ["models.a.ttl"]),
        (JIT, replace(JIT, is_pinned=True), ["models.a.pinned"]),
    ],
)
def test_why_it_is_there_changes_without_a_reload(
    there: Residency, wanted: Residency, changes: list[str]
) -> None:
    state = "loaded" if wanted is DECLARED else "on_demand"
    desired = replace(model(spec(residency=wanted), state=state), residency=wanted)
    actions = plan([desired], [ready(spec(residency=there))])
    assert [action.kind for action in actions] == ["Update"] * len(actions)
    assert [change.field for action in actions for change in action.changes] == changes
