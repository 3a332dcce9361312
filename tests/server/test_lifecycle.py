"""A profile becomes what runs: load, update, reload, unload, restore. A real server, real workers,
scripted models."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import LmrunError, ProfileInvalid
from lmrun.reconcile.outcome import Planned
from tests.support.profiles import ask, write_profile, write_script
from tests.support.server import Server, eventually, is_alive, serving


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return write_script(tmp_path / "a.scripted.json")


def profile_with(tmp_path: Path, port: int = 0, **fields: Any) -> Path:
    presets = fields.pop("presets", {})
    model = {"source": "file:./a.scripted.json", **fields}
    return write_profile(tmp_path / "p.yaml", {"a": model}, port=port, presets=presets)


def kinds(server: Server, profile: Path) -> list[tuple[str, str]]:
    """What applying did, in the order in which it ended."""
    return [(it.kind, it.target) for it in server.outcomes(profile) if it.error is None]


def test_a_profile_becomes_a_model_that_answers(tmp_path: Path, script: Path) -> None:
    with serving(tmp_path, profile_with(tmp_path)) as server:
        assert ask(server.address, "Hi") == "Hello world"


def test_a_second_apply_has_nothing_to_do(tmp_path: Path, script: Path) -> None:
    profile = profile_with(tmp_path)
    with serving(tmp_path, profile) as server:
        events = server.apply_events(profile)
        assert isinstance(events[0], Planned)
        assert events[0].plan.is_empty
        assert server.apply(profile).converged
        assert server.status.profile is not None
        assert server.status.profile.generation == 1


def test_a_changed_temperature_is_an_update_in_the_same_worker(
    tmp_path: Path, script: Path
) -> None:
    presets = {"p": {"prediction": {"temperature": 0.1}}}
    with serving(tmp_path, profile_with(tmp_path, preset="p", presets=presets)) as server:
        before = server.ready("a")
        presets["p"]["prediction"]["temperature"] = 0.9
        changed = profile_with(tmp_path, preset="p", presets=presets)
        assert kinds(server, changed) == [("Update", "a")]
        assert server.ready("a").pid == before.pid


def test_a_changed_context_length_is_a_reload_in_a_new_worker(tmp_path: Path, script: Path) -> None:
    with serving(tmp_path, profile_with(tmp_path)) as server:
        before = server.ready("a")
        changed = profile_with(tmp_path, load={"context_length": 64})
        assert kinds(server, changed) == [("Reload", "a")]
        after = server.ready("a")
        assert after.pid != before.pid
        assert after.context_length == 64
        old = before.pid
        assert old is not None
        eventually(lambda: not is_alive(old))


def test_a_removed_model_is_unloaded_and_its_process_gone(tmp_path: Path, script: Path) -> None:
    with serving(tmp_path, profile_with(tmp_path)) as server:
        pid = server.ready("a").pid
        assert pid is not None
        empty = write_profile(tmp_path / "p.yaml", {}, port=0)
        assert kinds(server, empty) == [("Unload", "a")]
        assert not is_alive(pid)


def test_a_model_declared_absent_is_known_but_not_loaded(tmp_path: Path, script: Path) -> None:
    with serving(tmp_path, profile_with(tmp_path, state="absent")) as server:
        assert server.worker_pids() == []
        conditions = {it.type: it.reason for it in server.model("a").conditions}
        assert conditions == {"Available": "Found", "Ready": "DeclaredAbsent"}


def test_a_moved_port_keeps_every_worker(tmp_path: Path, script: Path) -> None:
    with serving(tmp_path, profile_with(tmp_path)) as server:
        before, address = server.ready("a"), server.address
        moved = write_profile(tmp_path / "p.yaml", {"a": {"source": "file:./a.scripted.json"}})
        assert [kind for kind, _ in kinds(server, moved)] == ["Listen"]
        assert server.address != address
        assert ask(server.address, "Hi") == "Hello world"
        assert server.ready("a").pid == before.pid


def test_an_invalid_profile_is_refused_with_positions_and_changes_nothing(
    tmp_path: Path, script: Path
) -> None:
    with serving(tmp_path, profile_with(tmp_path)) as server:
        before = server.ready("a")
        broken = tmp_path / "broken.yaml"
        broken.write_text("version: 1\nmodels:\n  a:\n    sauce: file:./a.scripted.json\n")
        with pytest.raises(ProfileInvalid) as caught:
            server.apply(broken)
        first = caught.value.problems[0]
        assert (first.line, first.column, first.path) == (4, 5, "models.a.source")
        assert server.ready("a").pid == before.pid
        assert server.condition("Converged").startswith("True")


def test_after_a_killed_server_no_worker_is_left_and_the_next_start_restores(
    tmp_path: Path, script: Path
) -> None:
    profile = profile_with(tmp_path)
    with serving(tmp_path, profile) as server:
        (pid,) = server.worker_pids()
        server.kill()
        eventually(lambda: not is_alive(pid), within_s=2.0)
    profile.write_text("version: 1\nmodels: {half: writ")
    with Server(tmp_path) as restarted:
        assert restarted.ready("a").pid != pid
        assert ask(restarted.address, "Hi") == "Hello world"


def test_a_broken_profile_at_start_serves_what_was_last_applied_and_says_so(
    tmp_path: Path, script: Path
) -> None:
    profile = profile_with(tmp_path)
    with serving(tmp_path, profile):
        pass
    profile.write_text("version: 2\n")
    with Server(tmp_path, str(profile)) as restarted:
        restarted.ready("a")
        assert "p.yaml:1:" in restarted.condition("ProfileValid")


def test_a_broken_profile_that_was_never_applied_ends_the_start_with_its_problems(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "p.yaml"
    broken.write_text("version: 1\nmodles: {}\n")
    server = Server(tmp_path, str(broken))
    assert server.process.wait(20) == 1
    server.end()
    assert "p.yaml:2:1: modles" in server.log()


def test_sigterm_ends_server_and_workers_in_good_order(tmp_path: Path, script: Path) -> None:
    with serving(tmp_path, profile_with(tmp_path)) as server:
        (pid,) = server.worker_pids()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        assert not is_alive(pid)
        assert not server.home.control_socket.exists()


def test_down_unloads_ends_the_server_and_nothing_is_restored(tmp_path: Path, script: Path) -> None:
    with serving(tmp_path, profile_with(tmp_path)) as server:
        (pid,) = server.worker_pids()
        server.control.down()
        assert server.process.wait(15) == 0
        assert not is_alive(pid)
    with Server(tmp_path) as restarted:
        assert restarted.status.profile is None
        assert restarted.worker_pids() == []


def test_variables_come_with_the_apply_and_a_restart_without_them_says_so(
    tmp_path: Path, script: Path
) -> None:
    profile = tmp_path / "p.yaml"
    key = {"name": "ci", "key": "${env:TEST_LMRUN_KEY}"}
    content = {
        "version": 1,
        "server": {"port": 0, "api_keys": [key]},
        "models": {"a": {"source": "file:./a.scripted.json"}},
    }
    profile.write_text(json.dumps(content))
    with Server(tmp_path) as server:
        assert server.apply(profile, TEST_LMRUN_KEY="k" * 40).converged
    with Server(tmp_path) as restarted:
        eventually(lambda: "TEST_LMRUN_KEY" in restarted.condition("ProfileValid"))
        assert restarted.worker_pids() == []
    assert "k" * 40 not in server.log() + restarted.log()
    assert ("k" * 40).encode() not in server.home.database.read_bytes()


def test_a_plan_that_was_agreed_to_is_not_carried_out_against_another_state(
    tmp_path: Path, script: Path
) -> None:
    profile = profile_with(tmp_path)
    with serving(tmp_path, profile) as server:
        planned = server.control.plan(profile, {})
        server.apply(profile_with(tmp_path, load={"context_length": 64}))
        with pytest.raises(LmrunError, match="generation 1"):
            events = server.control.apply(
                profile, {}, watch=False, base_generation=planned.base_generation
            )
            next(events)
