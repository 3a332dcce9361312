"""`apply --locked`: the server holds a profile to its lock file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from lmrun.errors import LmrunError
from lmrun.profile.loader import load_profile
from lmrun.profile.lock import lock_path, write_lock
from lmrun.reconcile.outcome import ApplyEnded
from lmrun.reconcile.pinning import open_catalog, pin, tell_nobody
from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    write_script(tmp_path / "m.scripted.json", {"pieces": ["Hello"]})
    return write_profile(tmp_path / "p.yaml", {"m": {"source": "file:./m.scripted.json"}}, port=0)


def lock(server: Server, profile: Path) -> None:
    catalog = open_catalog(server.home)
    pinned = asyncio.run(pin(load_profile(profile, {}), catalog, tell_nobody, fetches=True))
    lock_path(profile).write_text(write_lock(pinned.lock))


def apply_locked(server: Server, profile: Path, *, watch: bool = False) -> ApplyEnded:
    last = list(server.control.apply(profile, {}, watch=watch, locked=True))[-1]
    assert isinstance(last, ApplyEnded)
    return last


def test_what_is_as_locked_is_applied(tmp_path: Path, profile: Path) -> None:
    with Server(tmp_path) as server:
        lock(server, profile)
        assert apply_locked(server, profile).converged


def test_a_changed_weight_file_is_refused_by_name_and_nothing_changes(
    tmp_path: Path, profile: Path
) -> None:
    with Server(tmp_path) as server:
        lock(server, profile)
        apply_locked(server, profile)
        pid = server.ready("m").pid
        write_script(tmp_path / "m.scripted.json", {"pieces": ["Other"]})
        with pytest.raises(LmrunError, match=r"m\.scripted\.json: has sha256"):
            apply_locked(server, profile)
        assert server.status.profile is not None
        assert server.status.profile.generation == 1
        assert server.ready("m").pid == pid


def test_without_a_lock_file_nothing_is_applied(tmp_path: Path, profile: Path) -> None:
    with Server(tmp_path) as server:
        with pytest.raises(LmrunError, match=r"p\.yaml\.lock: No such file"):
            apply_locked(server, profile)
        assert server.status.profile is None


def test_a_watched_profile_is_held_to_its_lock_with_every_change(
    tmp_path: Path, profile: Path
) -> None:
    with Server(tmp_path) as server:
        lock(server, profile)
        apply_locked(server, profile, watch=True)
        content = json.loads(profile.read_text())
        content["models"]["n"] = {"source": "file:./m.scripted.json"}
        profile.write_text(json.dumps(content))
        eventually(lambda: "models.n: not in the lock file" in server.condition("ProfileValid"))
        assert server.condition("ProfileValid").startswith("False/LockMismatch")
        lock(server, profile)
        server.ready("n")
