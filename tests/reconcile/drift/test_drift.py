"""Drift is told field by field, with its owner and what stands in the way of adopting it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lmrun.profile.chosen import parse_chosen
from lmrun.profile.schema import Profile
from lmrun.reconcile.drift.drift import Drift, find_drift
from lmrun.reconcile.drift.ownership import HandChange, HandChanges, api_owner, cli_owner
from lmrun.reconcile.plan import ObservedInstance
from lmrun.runtime.residency.residency import DECLARED, Residency
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig

SINCE = "2026-11-25T10:00:00+00:00"
CHANGE = HandChange("cli:ada", SINCE)


def profile(*, jit: dict[str, Any] | None = None, **model: Any) -> Profile:
    models = {"m": {"source": "file:m", **model}}
    return Profile.model_validate({"version": 1, "server": {"jit": jit or {}}, "models": models})


def running(
    identifier: str = "m", *, residency: Residency = DECLARED, **settings: str
) -> ObservedInstance:
    load = parse_chosen({f"load.{name}": value for name, value in settings.items()})
    spec = InstanceSpec(identifier, "m", "scripted", Path("/m"), 1, 1, LoadConfig().overlay(load))
    return ObservedInstance(replace(spec, residency=residency), "ready")


def drift(
    declared: Profile, *instances: ObservedInstance, changed: tuple[str, ...] = ("m",)
) -> tuple[Drift, ...]:
    return find_drift(declared, instances, dict.fromkeys(changed, CHANGE))


def show(found: tuple[Drift, ...]) -> dict[str, tuple[Any, Any]]:
    return {it.field: (it.desired, it.observed) for it in found}


def test_nothing_drifts_that_nobody_changed() -> None:
    assert drift(profile(), running(seed="1"), changed=()) == ()
    assert drift(profile(), changed=()) == ()


def test_what_is_as_the_profile_has_it_does_not_drift() -> None:
    assert drift(profile(load={"seed": 1}), running(seed="1")) == ()
    assert drift(profile(state="absent")) == ()
    assert drift(profile(state="on_demand")) == ()
    requested = running(residency=Residency("jit"))
    assert drift(profile(state="on_demand"), requested) == ()


def test_an_unloaded_model_that_should_be_loaded_drifts_in_its_state() -> None:
    (found,) = drift(profile())
    assert found == Drift(("models", "m", "state"), "m", CHANGE, "loaded", "on_demand")
    without_jit = profile(jit={"enabled": False})
    assert show(drift(without_jit)) == {"models.m.state": ("loaded", "absent")}


def test_what_is_loaded_by_hand_stays_other_than_what_a_request_has_loaded() -> None:
    hand = running(residency=Residency("hand"))
    assert show(drift(profile(state="on_demand"), hand)) == {
        "models.m.state": ("on_demand", "loaded")
    }
    for_now = running(residency=Residency("hand", asked_ttl_s=60))
    (found,) = drift(profile(state="on_demand"), for_now)
    assert found.obstacle == "it was loaded with a TTL: it is not meant to stay"


def test_a_loaded_model_that_should_be_absent_drifts_in_its_state_and_settings() -> None:
    found = drift(profile(state="absent", load={"threads": 2}), running(threads="1"))
    assert show(found) == {
        "models.m.state": ("absent", "loaded"),
        "models.m.load.threads": (2, 1),
    }


def test_each_leaf_of_the_load_settings_is_a_field_in_the_profiles_words() -> None:
    found = drift(
        profile(load={"gpu": {"ratio": "off"}, "prefix_cache": {"ram": "1GiB"}}),
        running(gpu="{ratio: max, main_gpu: 1}", prefix_cache="{ram: 16MiB}", seed="7"),
    )
    assert show(found) == {
        "models.m.load.gpu.ratio": ("off", "max"),
        "models.m.load.gpu.main_gpu": (None, 1),
        "models.m.load.prefix_cache.ram": ("1GiB", "16MiB"),
        "models.m.load.seed": (None, 7),
    }


def test_a_part_that_the_profile_lacks_is_one_field_with_what_was_chosen_of_it() -> None:
    assert show(drift(profile(), running(gpu="{ratio: off}"))) == {
        "models.m.load.gpu": (None, {"ratio": "off"})
    }


def test_one_of_several_instances_drifts_in_its_own_settings() -> None:
    declared = profile(
        load={"seed": 1}, instances=[{"identifier": "a"}, {"identifier": "b", "load": {"seed": 2}}]
    )
    found = drift(declared, running("a", seed="1"), running("b", seed="3"), changed=("a", "b"))
    assert show(found) == {"models.m.instances[1].load.seed": (2, 3)}
    (gone,) = drift(declared, running("a", seed="1"), changed=("b",))
    assert (gone.field, gone.identifier) == ("models.m.state", "b")
    assert gone.obstacle == "`state` is that of all the model's `instances`"


def test_one_instance_more_is_a_new_entry_of_instances() -> None:
    (found,) = drift(profile(), running(), running("m:2", seed="7"), changed=("m:2",))
    entry = {"identifier": "m:2", "load": {"seed": 7}}
    assert show((found,)) == {"models.m.instances": (None, [{"identifier": "m"}, entry])}
    assert found.obstacle is None
    several = profile(instances=[{"identifier": "a"}])
    assert show(drift(several, running("m:2", seed="7"), changed=("m:2",))) == {
        "models.m.instances[1]": (None, entry)
    }


def test_what_has_no_place_in_the_profile_says_why() -> None:
    (found,) = drift(profile(identifier="x"), running("x:2"), changed=("x:2",))
    assert found.obstacle is not None
    assert "has an `identifier`" in found.obstacle
    (found,) = drift(profile(state="absent"), running("y"), changed=("y",))
    assert found.obstacle is not None
    assert "`state` is that of all" in found.obstacle


def test_an_instance_of_a_model_that_is_not_declared_any_more_is_no_fields() -> None:
    stranger = running("s")
    other = replace(stranger, spec=replace(stranger.spec, model_key="gone"))
    assert drift(profile(), running(), other, changed=("s",)) == ()


def test_owners_say_which_way_they_came() -> None:
    assert (cli_owner("ada"), api_owner("ci"), api_owner(None)) == ("cli:ada", "api:ci", "api")


def test_the_last_who_changes_an_instance_owns_it() -> None:
    changes = HandChanges(lambda: SINCE)
    changes.note("m", "api")
    changes.note("m", "cli:ada")
    changes.note("n", "api:ci")
    assert changes.without({"n"}) == {"m": HandChange("cli:ada", SINCE)}
    changes.keep_only({"n"})
    assert changes.identifiers == {"n"}
    changes.forget("n")
    assert "n" not in changes
