"""`lmrun apply` and `lmrun down` with a real background server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmrun.cli.background import read_tail
from lmrun.cli.client import Control
from lmrun.store.home import Home
from tests.cli.conftest import COMMAND, Run
from tests.support.profiles import write_profile, write_script
from tests.support.server import eventually, is_alive


@pytest.fixture
def scripted(tmp_path: Path, home: Path, lmrun_process: Run) -> Iterator[Path]:
    """A profile of one scripted model; whatever server it got is stopped afterwards."""
    write_script(tmp_path / "m.scripted.json")
    yield write_profile(tmp_path / "p.yaml", {"m": {"source": "file:m.scripted.json"}}, port=0)
    assert lmrun_process("down").code == 0


def test_apply_starts_a_server_that_outlives_it_and_down_stops_it(
    scripted: Path, home: Path, lmrun_process: Run
) -> None:
    first = lmrun_process("apply", scripted)
    status = Control(Home(home).control_socket).status()
    second = lmrun_process("apply", scripted)
    answer = lmrun_process("chat", "hi")
    stopped = lmrun_process("down")

    assert (first.code, second.code, answer.out) == (0, 0, "Hello world\n")
    assert "Converged: generation 1" in first.out
    assert second.out.startswith("No changes.")
    assert stopped.out == "Stopped; 1 instance unloaded.\n"
    workers = [it.pid for model in status.models for it in model.instances]
    for pid in [status.server.pid, *workers]:
        eventually(lambda pid=pid: not pid or not is_alive(pid))  # type: ignore[misc]


def test_two_first_applies_at_once_share_one_server(
    scripted: Path, home: Path, environment: dict[str, str]
) -> None:
    both = [
        subprocess.Popen(
            [*COMMAND, "apply", "--json", str(scripted)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]

    ends = []
    for process in both:
        out, err = process.communicate(timeout=40)
        assert process.returncode == 0, err.decode()
        ends.append(json.loads(out.splitlines()[-1]))

    assert ends[0]["address"] == ends[1]["address"]


def test_a_server_that_cannot_start_is_explained_by_the_end_of_its_log(
    tmp_path: Path, home: Path, lmrun_process: Run
) -> None:
    write_script(tmp_path / "m.scripted.json")
    profile = write_profile(tmp_path / "p.yaml", {"m": {"source": "file:m.scripted.json"}}, port=0)
    (home / "lmrun.db").write_bytes(b"this is no database" * 100)

    result = lmrun_process("apply", profile)

    assert result.code == 1
    assert "Error: The background server ended at once" in result.err
    assert "lmrun.db: file is not a database." in result.err
    assert f"Hint: The log: {home}/logs/server.log" in result.err
    assert "Traceback" not in result.err


def test_the_tail_of_a_log_is_whole_lines_of_this_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n" + "x" * 3000 + "\nlast words\n")

    assert read_tail(log, start=0) == "last words"
    assert read_tail(log, start=3008) == "last words"
