"""`lmrun serve --git`: what is in a repository runs, and what does not work is taken back.

A real server, real git and signatures, a repository on this disk; scripted models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lmrun.reconcile.status import GitStatus
from tests.support.git import Remote
from tests.support.profiles import ask, write_profile, write_script
from tests.support.server import Server, eventually, free_port

INTERVAL_S = 1.0


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@contextmanager
def following(home: Path, remote: Remote, *options: str, url: str = "") -> Iterator[Server]:
    arguments = ["--git", url or str(remote.bare), "--interval", "1s", *options]
    with Server(home, *arguments, environment=remote.environment) as server:
        eventually(lambda: server.status.git)
        yield server


def script(*pieces: str) -> str:
    return json.dumps({"replies": [{"pieces": list(pieces)}]})


def profile(**fields: Any) -> str:
    content = {
        "version": 1,
        "server": {"port": 0},
        "models": {"m": {"source": "file:./m.scripted.json"}},
        **fields,
    }
    return json.dumps(content)


GOOD = {"profile.yaml": profile(), "m.scripted.json": script("Hello")}


def git(server: Server) -> GitStatus:
    status = server.status.git
    assert status is not None
    return status


def synced(server: Server, commit: str) -> None:
    eventually(
        lambda: (
            git(server).good == commit
            and git(server).commit == commit
            and server.condition("GitSynced").startswith("True")
        )
    )


def test_the_newest_commit_runs_and_the_next_one_takes_its_place(
    home: Path, remote: Remote
) -> None:
    first = remote.push(GOOD)
    with following(home, remote) as server:
        synced(server, first)
        assert ask(server.address, "Hi", model="m") == "Hello"
        second = remote.push({"m.scripted.json": script("Good", " day")})
        synced(server, second)
        assert ask(server.address, "Hi", model="m") == "Good day"
        status = git(server)
        assert (status.ref, status.path, status.head) == ("main", "profile.yaml", second)
        assert not status.is_behind
        newest = server.control.history().generations[0]
        assert newest.how == f"git {first[:12]}"


def test_a_commit_that_leaves_a_model_alone_leaves_its_worker_alone(
    home: Path, remote: Remote
) -> None:
    remote.push({**GOOD, "n.scripted.json": script("Two")})
    with following(home, remote) as server:
        pid = server.ready("m").pid
        models = {name: {"source": f"file:./{name}.scripted.json"} for name in "mn"}
        commit = remote.push({"profile.yaml": profile(models=models), "README.md": "New."})
        synced(server, commit)
        server.ready("n")
        assert server.ready("m").pid == pid


def test_a_commit_whose_model_cannot_be_loaded_is_taken_back_within_one_interval(
    home: Path, remote: Remote
) -> None:
    good = remote.push(GOOD)
    with following(home, remote) as server:
        synced(server, good)
        bad = remote.push({"m.scripted.json": "no script"})
        eventually(lambda: server.condition("GitSynced").startswith("False/RolledBack"))
        status = git(server)
        assert (status.commit, status.good, status.head) == (good, good, bad)
        assert status.is_behind
        assert f"Commit {good[:12]} runs again." in server.condition("GitSynced")
        server.ready("m")
        assert ask(server.address, "Hi", model="m") == "Hello"


CHECKS = {"greets": {"model": "m", "prompt": "Hi", "expect": {"contains": "Hello"}}}


def test_a_commit_whose_checks_fail_is_taken_back_and_marked_as_failed(
    home: Path, remote: Remote
) -> None:
    good = remote.push({**GOOD, "profile.yaml": profile(checks=CHECKS)})
    with following(home, remote) as server:
        synced(server, good)
        models = {"m": {"source": "file:./m.scripted.json", "identifier": "renamed"}}
        checks = {"greets": {**CHECKS["greets"], "model": "renamed"}}
        bad = remote.push(
            {
                "profile.yaml": profile(models=models, checks=checks),
                "m.scripted.json": script("Go away"),
            }
        )
        eventually(lambda: server.condition("GitSynced").startswith("False/RolledBack"))
        assert "greets: " in server.condition("GitSynced")
        assert git(server).commit == good
        assert ask(server.address, "Hi", model="m") == "Hello"
        back, failed, first = server.control.history().generations
        assert (first.state, failed.state, failed.how) == ("converged", "failed", f"git {bad[:12]}")
        assert back.how == f"git {bad[:12]} taken back"
        mended = remote.push({"m.scripted.json": script("Hello again")})
        synced(server, mended)
        assert ask(server.address, "Hi", model="renamed") == "Hello again"


def test_a_commit_that_was_taken_back_stays_so_across_a_restart(home: Path, remote: Remote) -> None:
    good = remote.push({**GOOD, "profile.yaml": profile(checks=CHECKS)})
    with following(home, remote) as server:
        synced(server, good)
        bad = remote.push({"m.scripted.json": script("Go away")})
        eventually(lambda: server.condition("GitSynced").startswith("False/RolledBack"))
    with following(home, remote) as restarted:
        eventually(lambda: git(restarted).head == bad)
        restarted.ready("m")
        assert restarted.condition("GitSynced").startswith("False/RolledBack")
        assert ask(restarted.address, "Hi", model="m") == "Hello"


def test_a_profile_that_is_invalid_changes_nothing_and_is_told_with_its_line(
    home: Path, remote: Remote
) -> None:
    good = remote.push(GOOD)
    with following(home, remote) as server:
        synced(server, good)
        pid = server.ready("m").pid
        remote.push({"profile.yaml": "version: 1\nmodels:\n  m: {sauce: x}\n"})
        eventually(lambda: server.condition("GitSynced").startswith("False/ProfileInvalid"))
        assert "profile.yaml:3:" in server.condition("GitSynced")
        assert git(server).commit == good
        assert server.ready("m").pid == pid


def test_where_signatures_are_required_an_unsigned_commit_is_refused(
    home: Path, remote: Remote
) -> None:
    remote.trust_ssh_key()
    signed = remote.push(GOOD, signed=True)
    with following(home, remote, "--require-signed") as server:
        synced(server, signed)
        unsigned = remote.push({"m.scripted.json": script("Evil")})
        eventually(lambda: server.condition("GitSynced").startswith("False/SignatureMissing"))
        assert unsigned[:12] in server.condition("GitSynced")
        assert git(server).commit == signed
        assert ask(server.address, "Hi", model="m") == "Hello"
        again = remote.push({"m.scripted.json": script("Signed")}, signed=True)
        synced(server, again)
        assert ask(server.address, "Hi", model="m") == "Signed"


def test_the_signature_of_somebody_who_is_not_trusted_does_not_count(
    home: Path, remote: Remote
) -> None:
    remote.trust_ssh_key()
    remote.sign_with_a_stranger()
    remote.push(GOOD, signed=True)
    with following(home, remote, "--require-signed") as server:
        eventually(lambda: server.condition("GitSynced").startswith("False/SignatureMissing"))
        assert server.status.profile is None


def test_a_repository_that_cannot_be_reached_keeps_what_runs_and_is_tried_again(
    home: Path, remote: Remote, tmp_path: Path
) -> None:
    good = remote.push(GOOD)
    with following(home, remote) as server:
        synced(server, good)
        away = remote.bare.rename(tmp_path / "away.git")
        eventually(lambda: server.condition("GitSynced").startswith("False/GitFailed"))
        assert ask(server.address, "Hi", model="m") == "Hello"
    with following(home, remote) as restarted:
        restarted.ready("m")
        away.rename(remote.bare)
        synced(restarted, good)


def test_a_first_commit_that_fails_gives_way_to_what_was_applied_before(
    home: Path, remote: Remote, tmp_path: Path
) -> None:
    write_script(tmp_path / "a.scripted.json", {"pieces": ["By hand"]})
    by_hand = write_profile(tmp_path / "p.yaml", {"a": {"source": "file:./a.scripted.json"}})
    with Server(home) as server:
        server.apply(by_hand)
    remote.push({**GOOD, "m.scripted.json": "no script"})
    with following(home, remote) as server:
        eventually(lambda: server.condition("GitSynced").startswith("False/RolledBack"))
        server.ready("a")
        assert ask(server.address, "Hi") == "By hand"


def test_what_is_applied_by_hand_stands_until_the_next_commit(
    home: Path, remote: Remote, tmp_path: Path
) -> None:
    first = remote.push(GOOD)
    write_script(tmp_path / "a.scripted.json", {"pieces": ["By hand"]})
    by_hand = write_profile(
        tmp_path / "p.yaml", {"a": {"source": "file:./a.scripted.json"}}, port=free_port()
    )
    with following(home, remote) as server:
        synced(server, first)
        server.apply(by_hand)
        eventually(lambda: server.condition("GitSynced").startswith("False/Overridden"))
        assert ask(server.address, "Hi") == "By hand"
        second = remote.push({"README.md": "News."})
        synced(server, second)
        server.ready("m")


def test_hooks_filters_links_and_submodules_of_a_repository_have_no_effect(
    home: Path, remote: Remote, tmp_path: Path
) -> None:
    marker = tmp_path / "executed"
    remote.run("config", "-f", str(remote.clone / "in-tree-config"), "a.b", "c")
    (remote.clone / "link").symlink_to("/etc/passwd")
    (remote.clone / "up").symlink_to("..")
    hooks = remote.bare / "hooks"
    for name in ("post-checkout", "post-merge", "reference-transaction"):
        hook = hooks / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
        hook.chmod(0o755)
    marker.unlink(missing_ok=True)
    commit = remote.push(
        {
            **GOOD,
            ".gitattributes": "* filter=evil\n",
            ".gitmodules": f'[submodule "x"]\n path = x\n url = "ext::sh -c touch% {marker}"\n',
        }
    )
    marker.unlink(missing_ok=True)
    with following(home, remote) as server:
        synced(server, commit)
        current = server.home.git / "current"
        assert not (current / "link").exists()
        assert not (current / "up").exists()
        assert not marker.exists()
        assert "link, up" in server.log()
