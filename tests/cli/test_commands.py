"""Wrong usage, and the commands that one screen of tests is enough for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmrun import __version__
from lmrun.reconcile.outcome import Action, Plan
from tests.cli.conftest import Run
from tests.support.control import FakeServer, refusal

LOAD = Plan(0, (Action("Load", "assistant", "smollm2", (), fetch_bytes=98_000_000),))


def test_the_version_is_printed(lmrun: Run) -> None:
    assert lmrun("--version").out == f"lmrun {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["appply", "p.yaml"], "No such command 'appply'. Did you mean 'apply'?"),
        (["apply"], "Missing argument 'PROFILE'"),
        (["status", "--jsn"], "No such option: --jsn (Possible options: --json)"),
        (["chat", "--temperature", "hot", "hi"], "--temperature"),
        (["chat", "--max-tokens", "0", "hi"], "--max-tokens"),
        (["chat"], "say something, or pipe it in"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_would_be_right(
    lmrun: Run, arguments: list[str], expected: str
) -> None:
    result = lmrun(*arguments)

    assert (result.code, result.out) == (2, "")
    assert expected in result.err


class TestValidate:
    def test_a_valid_profile_is_valid_without_a_server(self, lmrun: Run, profile: Path) -> None:
        result = lmrun("validate", profile)

        assert (result.code, result.out, result.err) == (0, f"{profile} is valid.\n", "")

    def test_every_problem_is_shown_at_once(
        self, lmrun: Run, profile: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        profile.write_text("version: 1\nserver: {prot: 1}\nmodels: {m: {}}\n")
        monkeypatch.chdir(profile.parent)

        result = lmrun("validate", "p.yaml")

        assert result.code == 1
        assert result.err == "Error: 2 problems in p.yaml.\n"
        lines = result.out.splitlines()
        assert [line.split(": ")[:2] for line in lines] == [
            ["p.yaml:2:10", "server.prot"],
            ["p.yaml:3:13", "models.m.source"],
        ]

    def test_json_lists_the_problems(self, lmrun: Run, profile: Path) -> None:
        assert json.loads(lmrun("validate", "--json", profile).out) == {"problems": []}
        profile.write_text("version: 2\n")

        result = lmrun("validate", "--json", profile)

        problem = json.loads(result.out)["problems"][0]
        assert (result.code, problem["file"], problem["path"]) == (1, str(profile), "version")

    @pytest.mark.parametrize(
        ("name", "message", "hint"),
        [
            ("q.yaml", "There is no file", "Did you mean {}/p.yaml?"),
            ("p", "There is no file", "Did you mean {}/p.yaml?"),
            ("nowhere/p.yaml", "There is no file", "There is no directory {}/nowhere either."),
            ("", "is a directory", "Name a profile, for example {}/p.yaml."),
        ],
    )
    def test_a_wrong_file_name_gets_a_suggestion(
        self, lmrun: Run, profile: Path, name: str, message: str, hint: str
    ) -> None:
        result = lmrun("validate", profile.parent / name)

        first, second = result.err.splitlines()
        assert (result.code, second) == (1, "Hint: " + hint.format(profile.parent))
        assert first.startswith("Error: ") and message in first


class TestPlan:
    def test_no_changes_exit_with_0(self, lmrun: Run, server: FakeServer, profile: Path) -> None:
        result = lmrun("plan", "--detailed-exitcode", profile)

        assert (result.code, result.err) == (0, "")
        assert result.out.startswith("No changes.")

    def test_changes_exit_with_2_only_when_asked_for(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        server.plan = LOAD

        assert lmrun("plan", profile).code == 0
        result = lmrun("plan", "--detailed-exitcode", profile)
        assert result.code == 2
        assert "+ load    assistant (smollm2) · download 98 MB" in result.out

    def test_json_is_the_plan(self, lmrun: Run, server: FakeServer, profile: Path) -> None:
        server.plan = LOAD

        shown = json.loads(lmrun("plan", "--json", profile).out)

        assert (shown["base_generation"], shown["actions"][0]["kind"]) == (0, "Load")

    def test_only_the_variables_that_the_profile_names_are_sent(
        self, lmrun: Run, server: FakeServer, profile: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        profile.write_text('version: 1\nserver: {host: "${env:HERE}${env:THERE:-}"}\n')
        monkeypatch.setenv("HERE", "127.0.0.1")
        monkeypatch.setenv("ELSEWHERE", "private")

        lmrun("plan", profile)

        assert server.bodies("/lmrun/v1/plan") == [
            {"file": str(profile), "environment": {"HERE": "127.0.0.1"}}
        ]

    def test_a_refused_profile_exits_with_1_and_lists_its_problems_on_stderr(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        problem = {"file": "/p.yaml", "line": 2, "column": 3, "path": "models", "message": "no"}
        server.plan_refusal = (400, refusal("invalid", problems=[problem]))

        result = lmrun("plan", "--detailed-exitcode", profile)

        assert (result.code, result.out) == (1, "")
        assert result.err.splitlines() == [
            "/p.yaml:2:3: models: no",
            "Error: 1 problem in the profile; nothing was changed.",
        ]


class TestStatus:
    def test_no_server_is_said_and_exits_with_1(self, lmrun: Run) -> None:
        result = lmrun("status")

        assert (result.code, result.out) == (1, "lmrun is not running.\n")
        assert result.err == "Hint: `lmrun apply PROFILE` starts it.\n"

    def test_no_server_has_the_same_keys_in_json(self, lmrun: Run, server: FakeServer) -> None:
        running = json.loads(lmrun("status", "--json").out)
        server.home.control_socket.unlink()

        result = lmrun("status", "--json")

        assert (result.code, result.err) == (1, "")
        assert json.loads(result.out).keys() == running.keys()
        assert json.loads(result.out)["server"] is None

    def test_a_server_is_shown(self, lmrun: Run, server: FakeServer) -> None:
        result = lmrun("status")

        assert (result.code, result.err) == (0, "")
        assert "assistant   smollm2  ready" in result.out


class TestDown:
    def test_no_server_is_no_failure(self, lmrun: Run) -> None:
        result = lmrun("down")

        assert (result.code, result.out) == (0, "lmrun is not running.\n")

    def test_it_waits_until_the_server_has_let_go(self, lmrun: Run, server: FakeServer) -> None:
        server.home.lock_file.write_text("4242\n")
        server.on_down = lambda: server.home.lock_file.write_text("")

        result = lmrun("down")

        assert (result.code, result.out) == (0, "Stopped; 1 instance unloaded.\n")
        assert server.bodies("/lmrun/v1/down") == [{}]
