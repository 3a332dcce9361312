"""What clients change by hand: whose it is, and what the profile has become of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from lmrun.reconcile.status import DriftStatus
from lmrun.store.home import find_user
from tests.support.git import Remote
from tests.support.http import Port, Reply
from tests.support.profiles import ask as complete
from tests.support.profiles import write_script
from tests.support.server import Server, eventually, free_port, serving

PROFILE = """\
# what we run
version: 1
drift: {policy}
server: {{port: {port}}}
include: [base.yaml]
models:
  # ours
  quick:
    load: {{context_length: 1024}}   # enough for us
"""
BASE = """\
models:
  quick: {source: file:./quick.scripted.json}  # from the base
  other:
    source: file:./quick.scripted.json
    state: absent  # until somebody needs it
"""


def write(home: Path, policy: str) -> Path:
    write_script(home / "quick.scripted.json")
    (home / "base.yaml").write_text(BASE)
    profile = home / "p.yaml"
    profile.write_text(PROFILE.format(policy=policy, port=free_port()))
    return profile


def ask(server: Server, path: str, **body: Any) -> Reply:
    reply = Port(int(server.address.rpartition(":")[2])).ask("POST", f"/api/v1/models{path}", body)
    assert reply.status == 200, reply.json
    return reply


def drift(server: Server) -> dict[str, tuple[str | None, str | None]]:
    return {it.field: (it.desired, it.observed) for it in server.status.drift}


def converged(server: Server, generation: int) -> bool:
    """Whether that generation is what runs."""
    profile = server.status.profile
    assert profile is not None
    return profile.observed_generation == profile.generation == generation


def test_what_a_client_changes_is_reported_field_by_field_and_stays(tmp_path: Path) -> None:
    profile = write(tmp_path, "report")
    with serving(tmp_path, profile) as server:
        assert not drift(server)
        ask(server, "/unload", instance_id="quick")
        (only,) = server.status.drift
        assert only == DriftStatus(
            "models.quick.state", "quick", "api", only.since, "loaded", "on_demand"
        )
        ask(server, "/load", model="quick", context_length=256, flash_attention=False)
        ask(server, "/load", model="other")
        assert drift(server) == {
            "models.quick.load.context_length": ("1024", "256"),
            "models.quick.load.flash_attention": ("true", "false"),
            "models.other.state": ("absent", "loaded"),
        }
        assert server.condition("Converged").startswith("True")
        assert server.apply(profile).converged
        assert not drift(server)
        assert server.ready("quick").context_length == 1024


def test_what_was_undone_by_hand_is_nobodys(tmp_path: Path) -> None:
    with serving(tmp_path, write(tmp_path, "report")) as server:
        ask(server, "/load", model="other")
        assert drift(server) == {"models.other.state": ("absent", "loaded")}
        ask(server, "/unload", instance_id="other")
        eventually(lambda: not server.status.drift)


def test_what_a_request_loads_again_is_as_the_profile_has_it(tmp_path: Path) -> None:
    with serving(tmp_path, write(tmp_path, "report")) as server:
        ask(server, "/unload", instance_id="quick")
        assert drift(server) == {"models.quick.state": ("loaded", "on_demand")}
        assert complete(server.address, "Hi", model="quick") == "Hello world"
        eventually(lambda: not server.status.drift)
        eventually(lambda: server.ready("quick").residency.origin == "declared")
        assert server.condition("Converged") == "True/Converged: "


def test_one_instance_more_than_declared_is_drift_of_the_model(tmp_path: Path) -> None:
    with serving(tmp_path, write(tmp_path, "report")) as server:
        ask(server, "/load", model="quick", context_length=256)
        (only,) = server.status.drift
        assert (only.field, only.instance, only.desired, only.obstacle) == (
            "models.quick.instances",
            "quick:2",
            None,
            None,
        )
        entry = '{identifier: "quick:2", load: {context_length: 256}}'
        assert only.observed == f"[{{identifier: quick}}, {entry}]"


def test_adopt_declares_one_instance_more(tmp_path: Path) -> None:
    profile = write(tmp_path, "adopt")
    text = profile.read_text()
    with serving(tmp_path, profile) as server:
        pids = {}
        for generation, length in ((2, 256), (3, 512)):
            ask(server, "/load", model="quick", context_length=length)
            eventually(lambda number=generation: converged(server, number))  # type: ignore[misc]
            pids = {it.identifier: it.pid for it in server.model("quick").instances}
        entries = [
            "{identifier: quick}",
            '{identifier: "quick:2", load: {context_length: 256}}',
            '{identifier: "quick:3", load: {context_length: 512}}',
        ]
        assert profile.read_text() == text + f"    instances: [{', '.join(entries)}]\n"
        assert server.status.drift == ()
        assert server.apply(profile).converged
        assert pids == {it.identifier: it.pid for it in server.model("quick").instances}
        assert {it.residency.origin for it in server.model("quick").instances} == {"declared"}


def test_revert_undoes_it_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, write(tmp_path, "revert")) as server:
        pid = server.ready("quick").pid
        ask(server, "/load", model="other")
        ask(server, "/unload", instance_id="quick")
        server.ready("quick", not_pid=pid)
        eventually(lambda: server.instance("other") is None)
        eventually(lambda: not server.status.drift)
        done = server.control.load("quick", {"load.context_length": "256"}, None)
        assert (done.is_new, done.drift_policy) == (True, "revert")
        eventually(lambda: server.ready("quick").context_length == 1024)
        eventually(lambda: not server.status.drift)
        eventually(lambda: server.condition("Converged").startswith("True"))


def test_adopt_writes_it_into_the_files_that_last_set_it(tmp_path: Path) -> None:
    profile = write(tmp_path, "adopt")
    text = profile.read_text()
    with serving(tmp_path, profile) as server:
        ask(server, "/unload", instance_id="quick")
        eventually(lambda: converged(server, 2))
        assert profile.read_text() == text + "    state: on_demand\n"
        ask(server, "/load", model="quick", context_length=256)
        pid = server.ready("quick").pid
        eventually(lambda: converged(server, 3))
        wanted = text.replace("1024", "256") + "    state: loaded\n"
        assert profile.read_text() == wanted
        ask(server, "/load", model="other")
        eventually(lambda: converged(server, 4))
        assert (tmp_path / "base.yaml").read_text() == BASE.replace(
            "state: absent", "state: loaded"
        )
        assert not drift(server)
        # What was adopted is what the profile says: applying it changes nothing.
        assert server.apply(profile).generation == 4
        assert server.ready("quick").pid == pid


def test_what_cannot_be_adopted_is_reported_and_stays(tmp_path: Path) -> None:
    profile = write(tmp_path, "adopt")
    reference = "load:\n      context_length: ${env:LENGTH:-1024}"
    text = profile.read_text().replace("load: {context_length: 1024}", reference)
    profile.write_text(text)
    with serving(tmp_path, profile) as server:
        ask(server, "/unload", instance_id="quick")
        eventually(lambda: converged(server, 2))
        ask(server, "/load", model="quick", context_length=512)
        eventually(lambda: converged(server, 3))
        assert profile.read_text() == text + "    state: loaded\n"
        (only,) = server.status.drift
        assert (only.field, only.observed) == ("models.quick.load.context_length", "512")
        eventually(lambda: "is a reference" in str(server.status.drift[0].obstacle))
        assert server.ready("quick").context_length == 512


def test_what_would_make_the_profile_invalid_is_not_adopted(tmp_path: Path) -> None:
    profile = write(tmp_path, "adopt")
    prewarmed = "    prewarm: [p]\npresets:\n  p: {system_prompt: Be brief.}\n"
    profile.write_text(profile.read_text() + prewarmed)
    text = profile.read_text()
    with serving(tmp_path, profile) as server:
        server.control.load("quick", {"load.prefix_cache.ram": "0B"}, None)
        (found,) = eventually(lambda: [it for it in server.status.drift if it.obstacle])
        assert (found.desired, found.observed) == ("1GiB", "0B")
        assert str(found.obstacle).startswith("the profile would not be valid: ")
        assert "models.quick.prewarm" in str(found.obstacle)
        assert profile.read_text() == text


def test_a_file_that_was_edited_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    profile = write(tmp_path, "adopt")
    with serving(tmp_path, profile) as server:
        text = profile.read_text() + "# edited meanwhile\n"
        profile.write_text(text)
        ask(server, "/unload", instance_id="quick")
        (found,) = eventually(lambda: [it for it in server.status.drift if it.obstacle])
        assert "has changed since it was applied; apply it first" in str(found.obstacle)
        assert profile.read_text() == text
        profile.unlink()
        ask(server, "/load", model="other")
        eventually(lambda: (tmp_path / "base.yaml").read_text() != BASE)
        gone = f"{profile}: no such file"
        eventually(lambda: [it for it in server.status.drift if it.obstacle == gone])
        assert server.instance("quick") is None


def test_what_is_adopted_is_no_news_to_who_watches_and_a_link_stays_one(tmp_path: Path) -> None:
    profile = write(tmp_path, "adopt")
    profile.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(profile)
    with serving(tmp_path, link, "--watch") as server:
        ask(server, "/unload", instance_id="quick")
        eventually(lambda: converged(server, 2))
        assert link.is_symlink()
        assert profile.read_text().endswith("    state: on_demand\n")
        assert profile.stat().st_mode & 0o777 == 0o640
        # Editors replace files, and links with them.
        edited = tmp_path / "edited"
        edited.write_text(profile.read_text().replace("state: on_demand", "state: loaded"))
        edited.replace(link)
        eventually(lambda: converged(server, 3))
        assert server.control.history().generations[1].how == "adopt"
        assert server.control.history().generations[1].author == "api"


def test_a_profile_from_a_repository_is_not_written(tmp_path: Path) -> None:
    remote, home = Remote(tmp_path), tmp_path / "home"
    home.mkdir()
    models = {"m": {"source": "file:./m.scripted.json"}}
    text = json.dumps({"version": 1, "drift": "adopt", "server": {"port": 0}, "models": models})
    remote.push({"profile.yaml": text, "m.scripted.json": '{"replies": [{"pieces": ["Hi"]}]}'})
    arguments = ["--git", str(remote.bare), "--interval", "1s"]
    with Server(home, *arguments, environment=remote.environment) as server:
        server.ready("m")
        server.control.unload("m")
        (found,) = eventually(lambda: [it for it in server.status.drift if it.obstacle])
        assert str(found.obstacle) == "the profile comes from a repository; commit the change there"


def lmrun(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "lmrun", *arguments],
        env={**os.environ, "LMRUN_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_command_line_changes_the_declared_instance_itself(tmp_path: Path) -> None:
    with serving(tmp_path, write(tmp_path, "report")) as server:
        done = lmrun(tmp_path, "load", "quick", "--set", "load.context_length=256")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Loaded quick in ")
        assert server.ready("quick").context_length == 256
        (only,) = server.status.drift
        assert only.field == "models.quick.load.context_length"
        assert only.owner == f"cli:{find_user()}"
        assert "cli:" in lmrun(tmp_path, "status").stdout
        again = lmrun(tmp_path, "load", "quick", "--set", "load.context_length=256")
        assert again.stdout == "quick is loaded like that already.\n"
        # Without settings it is the profile's again, and nobody's.
        assert lmrun(tmp_path, "load", "quick").returncode == 0
        assert server.ready("quick").context_length == 1024
        eventually(lambda: not server.status.drift)


def test_the_command_line_loads_another_instance_under_a_name(tmp_path: Path) -> None:
    with serving(tmp_path, write(tmp_path, "report")) as server:
        done = lmrun(tmp_path, "load", "quick", "--as", "mine", "--set", "load.seed=3")
        assert done.returncode == 0, done.stderr
        assert server.ready("mine").state == "ready"
        taken = lmrun(tmp_path, "load", "quick", "--as", "other")
        assert (taken.returncode, taken.stdout) == (1, "")
        assert "The identifier 'other' is another model's." in taken.stderr
        assert lmrun(tmp_path, "unload", "mine").stdout == "Unloaded mine.\n"
        assert server.instance("mine") is None


def test_the_command_line_says_what_is_wrong_with_a_setting(tmp_path: Path) -> None:
    with serving(tmp_path, write(tmp_path, "report")) as server:
        for setting, message in {
            "load.context_length=many": "must be a whole number, not text",
            "load.contxt_length=8": "did you mean `context_length`?",
            "prediction.seed=1": "only load settings",
        }.items():
            done = lmrun(tmp_path, "load", "quick", "--set", setting)
            assert done.returncode == 1
            assert message in done.stderr
        # Settings of every kind are for the socket only.
        port = Port(int(server.address.rpartition(":")[2]))
        assert port.ask("POST", "/lmrun/v1/load", {"model": "quick"}).status == 404
        unknown = lmrun(tmp_path, "unload", "nobody")
        assert unknown.returncode == 1
        assert "There is no instance 'nobody'" in unknown.stderr
        assert not drift(server)


def test_the_owner_is_the_api_key_that_was_used(tmp_path: Path) -> None:
    profile = write(tmp_path, "report")
    key = '  api_keys: [{name: ci, key: "${env:CI_KEY}", scopes: [models]}]\n'
    text = profile.read_text()
    server_line = next(line for line in text.splitlines() if line.startswith("server:"))
    port = server_line.rpartition(": ")[2].rstrip("}")
    profile.write_text(text.replace(server_line, f"server:\n  port: {port}\n{key}".rstrip()))
    with serving(tmp_path, profile, CI_KEY="secret-of-ci") as server:
        url = f"{server.address}/api/v1/models/unload"
        headers = {"Authorization": "Bearer secret-of-ci"}
        answer = httpx.post(url, json={"instance_id": "quick"}, headers=headers, timeout=20)
        assert answer.status_code == 200
        assert [it.owner for it in server.status.drift] == ["api:ci"]
