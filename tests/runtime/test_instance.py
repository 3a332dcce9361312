"""The states of an instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.errors import LoadFailed
from lmrun.runtime.instance import TRANSITIONS, Instance, State
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig

STATES = sorted(TRANSITIONS)
SPEC = InstanceSpec("m", "m", "scripted", Path("m.scripted.json"), 1, 1, LoadConfig())


@pytest.mark.parametrize("old", STATES)
@pytest.mark.parametrize("new", STATES)
def test_only_what_is_drawn_may_happen(old: State, new: State) -> None:
    instance = Instance(SPEC, state=old)
    if new in TRANSITIONS[old]:
        instance.move_to(new)
        assert instance.state == new
    else:
        with pytest.raises(AssertionError, match=f"{old} to {new}"):
            instance.move_to(new)


def test_a_failed_instance_keeps_its_error_until_it_moves_on() -> None:
    instance = Instance(SPEC, state="loading", pid=7, progress=0.5, active=1, waiting=1)
    error = LoadFailed("no")
    instance.move_to("failed", error=error)
    assert (instance.error, instance.pid, instance.progress) == (error, None, None)
    assert (instance.active, instance.waiting) == (0, 0)
    instance.move_to("unloading")
    assert instance.error is None
