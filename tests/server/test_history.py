"""What was applied is remembered, and can be applied again. A real server, scripted models."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from lmrun.errors import LmrunError
from lmrun.reconcile.outcome import ApplyEnded, Planned
from lmrun.store.home import find_user
from tests.support.profiles import ask, write_profile, write_script
from tests.support.server import Server, free_port, serving


def edit(profile: Path, **context_lengths: int) -> None:
    """Declare just these models."""
    content = json.loads(profile.read_text())
    content["models"] = {
        name: {"source": "file:./m.scripted.json", "load": {"context_length": length}}
        for name, length in context_lengths.items()
    }
    profile.write_text(json.dumps(content))


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    write_script(tmp_path / "m.scripted.json", {"pieces": ["Hello"]})
    return write_profile(
        tmp_path / "p.yaml", {"a": {"source": "file:./m.scripted.json"}}, port=free_port()
    )


def roll_back(server: Server, number: int | None = None, **environment: str) -> ApplyEnded:
    last = list(server.control.roll_back(number, environment))[-1]
    assert isinstance(last, ApplyEnded)
    return last


def test_each_generation_says_who_how_what_was_planned_and_what_came_of_it(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile) as server:
        edit(profile, a=64, b=128)
        server.apply(profile)
        second, first = server.control.history().generations
        assert (first.number, first.author, first.how) == (1, find_user(), "serve")
        assert (second.author, second.how, second.state) == (find_user(), "apply", "converged")
        assert (first.is_current, second.is_current) == (False, True)
        assert second.files == (str(profile),)
        assert [(it.kind, it.target, it.fields) for it in second.plan] == [
            ("Reload", "a", ("models.a.load.context_length",)),
            ("Load", "b", ("models.b.state",)),
        ]
        assert {(it.kind, it.target, it.error, it.tries) for it in second.outcomes} == {
            ("Reload", "a", None, 1),
            ("Load", "b", None, 1),
        }


def test_what_failed_is_in_the_history_with_its_reason(tmp_path: Path, profile: Path) -> None:
    with serving(tmp_path, profile) as server:
        content = json.loads(profile.read_text())
        content["models"]["b"] = {"source": "file:./missing.scripted.json"}
        profile.write_text(json.dumps(content))
        assert not server.apply(profile).converged
        newest = server.control.history().generations[0]
        assert newest.state == "accepted"
        (outcome,) = newest.outcomes
        assert "missing.scripted.json" in str(outcome.error)


def test_a_rollback_applies_what_was_before_and_is_a_generation_of_its_own(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile, "--watch") as server:
        before = server.ready("a")
        edit(profile, b=64)
        server.apply(profile)
        assert roll_back(server).converged
        after = server.ready("a")
        assert after.context_length == before.context_length
        assert [it.how for it in server.control.history().generations] == [
            "rollback to 1",
            "apply",
            "serve",
        ]
        status = server.status.profile
        assert status is not None
        assert (status.generation, status.watching) == (3, False)
        assert "b" in json.loads(profile.read_text())["models"]


def test_a_rollback_can_be_rolled_back(tmp_path: Path, profile: Path) -> None:
    with serving(tmp_path, profile) as server:
        edit(profile, b=64)
        server.apply(profile)
        roll_back(server)
        roll_back(server)
        assert server.instance("a") is None
        server.ready("b")


def test_a_rollback_survives_a_restart_whatever_the_file_says(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile) as server:
        edit(profile, b=64)
        server.apply(profile)
        roll_back(server, 1)
    with Server(tmp_path) as restarted:
        restarted.ready("a")
        assert ask(restarted.address, "Hi") == "Hello"


def test_variables_are_resolved_again_and_no_secret_is_stored(
    tmp_path: Path, profile: Path
) -> None:
    content = json.loads(profile.read_text())
    content["server"]["api_keys"] = [{"name": "ci", "key": "${env:CI_KEY}"}]
    content["presets"] = {"p": {"system_prompt": "${env:TONE}"}}
    content["models"]["a"]["preset"] = "p"
    profile.write_text(json.dumps(content))
    first, second = "sk-" + "f" * 40, "sk-" + "s" * 40
    with serving(tmp_path, profile, CI_KEY=first, TONE="private-tone") as server:
        edit(profile, b=64)
        server.apply(profile)
        assert roll_back(server, CI_KEY=second, TONE="another-tone").converged
        stored = "".join(
            str(row) for row in sqlite3.connect(server.home.database).iterdump() if row
        )
        assert "${env:CI_KEY}" in stored
        assert not [it for it in (first, second, "private-tone", "another-tone") if it in stored]


def test_a_generation_that_is_not_kept_is_refused_and_nothing_changes(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile) as server:
        with pytest.raises(LmrunError, match="no generation 9"):
            roll_back(server, 9)
        with pytest.raises(LmrunError, match="no earlier generation"):
            roll_back(server)
        assert len(server.control.history().generations) == 1


def test_a_rollback_that_was_agreed_to_before_something_else_was_applied_is_refused(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile) as server:
        edit(profile, b=64)
        server.apply(profile)
        plan = server.control.plan_rollback(1, {}).plan
        assert {(it.kind, it.target) for it in plan.actions} == {("Unload", "b"), ("Load", "a")}
        edit(profile, b=128)
        server.apply(profile)
        events = server.control.roll_back(1, {}, base_generation=plan.base_generation)
        with pytest.raises(LmrunError, match="has been applied since"):
            list(events)


def test_a_rollback_begins_with_its_plan(tmp_path: Path, profile: Path) -> None:
    with serving(tmp_path, profile) as server:
        edit(profile, a=64)
        server.apply(profile)
        first = next(iter(server.control.roll_back(1, {})))
        assert isinstance(first, Planned)
        assert [(it.kind, it.target) for it in first.plan.actions] == [("Reload", "a")]
