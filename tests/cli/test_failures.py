"""How expected failures reach people, programs, and nobody at all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lmrun.reconcile.outcome import ActionEnded, ApplyEnded, Outcome, Planned
from tests.cli.conftest import COMMAND, Result, Run
from tests.support.control import EMPTY_PLAN, FakeServer, refusal

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")


@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
def test_a_failure_is_a_json_document_where_json_was_asked_for(
    lmrun: Run, profile: Path, command: str
) -> None:
    result = lmrun(command, "--json", profile.with_name("q.yaml"))

    assert result.code == 1
    assert json.loads(result.out) == {
        "error": {
            "type": "error",
            "message": f"There is no file {profile.with_name('q.yaml')}.",
            "hint": f"Did you mean {profile}?",
        }
    }
    assert result.err.startswith("Error: There is no file")


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_an_invalid_profile_is_the_same_document_as_from_validate(
    lmrun: Run, profile: Path, command: str
) -> None:
    profile.write_text("version: 9\n")
    wanted = json.loads(lmrun("validate", "--json", profile).out)

    result = lmrun(command, "--json", profile)

    assert (result.code, json.loads(result.out)) == (1, wanted)
    assert result.err.splitlines()[-1].startswith("Error: 1 problem in the profile")


def test_a_refusal_keeps_the_server_s_name_for_it(
    lmrun: Run, server: FakeServer, profile: Path
) -> None:
    server.plan_refusal = (409, refusal("moved", code="profile_superseded"))

    error = json.loads(lmrun("plan", "--json", profile).out)["error"]

    assert error == {"type": "profile_superseded", "message": "moved", "hint": None}


def test_an_apply_that_fails_ends_its_json_lines_with_the_error(
    lmrun: Run, server: FakeServer, profile: Path
) -> None:
    ended = ActionEnded(Outcome("Load", "a", 0.1, "no memory"))
    server.events = [Planned(EMPTY_PLAN, 3), ended, ApplyEnded(False, 3, None)]

    *events, last = lmrun("apply", "--json", profile).out.splitlines()

    assert [json.loads(line)["event"] for line in events] == ["plan", "action.end", "apply.end"]
    assert json.loads(last)["error"]["message"] == "Generation 3 has not converged: a: no memory"


def test_a_command_without_json_has_nothing_on_stdout(lmrun: Run, profile: Path) -> None:
    lmrun("plan", "--json", profile.with_name("q.yaml"))

    assert lmrun("plan", profile.with_name("q.yaml")).out == ""
    assert lmrun("chat", "hi").out == ""


def test_a_file_name_that_is_no_text_is_still_json(lmrun_process: Run, tmp_path: Path) -> None:
    result = lmrun_process("plan", "--json", b"\xff.yaml".decode(errors="surrogateescape"))

    assert (result.code, json.loads(result.out)["error"]["type"]) == (1, "error")


@FULL
@pytest.mark.parametrize(
    "command", ["status", "status --json", "chat hello", "models --json", "--version", "--help"]
)
def test_a_full_disk_is_no_bug(
    server: FakeServer, environment: dict[str, str], command: str
) -> None:
    server.chat = ["Hello"]

    result = _run_in_shell(f"{command} >/dev/full </dev/null", environment)

    assert result == Result(1, "", "Error: cannot write the output: No space left on device\n")


@FULL
def test_what_nobody_can_be_told_stops_nothing(
    server: FakeServer, environment: dict[str, str], profile: Path
) -> None:
    ended = ActionEnded(Outcome("Load", "a", 0.1))
    server.events = [Planned(EMPTY_PLAN, 3), ended, ApplyEnded(True, 3, None)]

    result = _run_in_shell(f"apply {profile} 2>/dev/full", environment)

    assert (result.code, result.out.splitlines()[-1]) == (0, "Converged: generation 3")


@pytest.mark.parametrize("command", ["status", "--help", "--version", "chat hello"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_as_good_as_dev_null(
    server: FakeServer, environment: dict[str, str], command: str, closed: str
) -> None:
    server.chat = ["Hello"]

    result = _run_in_shell(f"{command} {closed}", environment)

    assert (result.code, result.err) == (0, "")
    assert bool(result.out) == (">&-" not in closed.replace("2>&-", ""))


def test_a_failure_exits_with_1_though_every_stream_is_closed(environment: dict[str, str]) -> None:
    assert _run_in_shell("plan --json nowhere.yaml <&- >&- 2>&-", environment) == Result(1, "", "")


def _run_in_shell(command: str, environment: dict[str, str]) -> Result:
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(COMMAND)} {command}"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=30,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
