"""Every command against a server that plays one: what it asks, shows, and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmrun import __version__
from lmrun.reconcile.outcome import (
    Action,
    ActionEnded,
    ActionProgress,
    ActionStarted,
    ApplyEnded,
    Outcome,
    Plan,
    Planned,
)
from tests.cli.conftest import Run
from tests.support.control import FakeServer, instance, model, refusal, status

LOAD = Plan(0, (Action("Load", "assistant", "smollm2", (), fetch_bytes=98_000_000),))
UNLOAD = Plan(3, (Action("Unload", "old", "old", ()),))


def test_the_version_is_printed(lmrun: Run) -> None:
    assert lmrun("--version").out == f"lmrun {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["aply", "p.yaml"], "No such command 'aply'. Did you mean 'apply'?"),
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


class TestApply:
    def test_nothing_to_do_is_said_and_converged(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        result = lmrun("apply", profile)

        assert (result.code, result.err) == (0, "")
        assert result.out.splitlines() == [
            "No changes. What runs is what the profile says.",
            f"Converged: generation 3, {server.status.server.address}",
        ]

    def test_progress_goes_to_stderr_and_the_plan_and_the_end_to_stdout(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        server.plan = LOAD
        server.events = [
            Planned(LOAD, 1),
            ActionStarted("Load", "assistant"),
            ActionProgress("assistant", "fetch", 1e6, 98e6),
            ActionProgress("assistant", "fetch", 98e6, 98e6),
            ActionProgress("assistant", "load", 0.5, 1.0),
            ActionEnded(Outcome("Load", "assistant", 1.25)),
            ApplyEnded(True, 1, "http://127.0.0.1:1234"),
        ]

        result = lmrun("apply", "--yes", profile)

        assert result.code == 0
        assert "Plan: 1 to load. Download: 98 MB." in result.out
        assert result.out.splitlines()[-1] == "Converged: generation 1, http://127.0.0.1:1234"
        assert result.err.splitlines() == [
            "  assistant: loading",
            "  assistant: downloading 98 MB",
            "✓ assistant loaded in 1.2 s",
        ]

    def test_what_failed_is_said_with_its_hint_and_exits_with_1(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        server.plan = LOAD
        server.events = [
            Planned(LOAD, 2),
            ActionEnded(Outcome("Load", "assistant", 0.1, error="no memory", hint="buy some")),
            ApplyEnded(False, 2, None),
        ]

        result = lmrun("apply", "-y", profile)

        assert result.code == 1
        assert result.err.splitlines() == [
            "✗ assistant not loaded: no memory",
            "  buy some",
            "Error: Generation 2 has not converged.",
            "Hint: What failed is tried again; `lmrun status` shows how it stands.",
        ]

    def test_a_failure_that_repeats_is_said_once(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        outcomes = [
            Outcome("Load", "a", 0.1, error="no memory"),
            Outcome("Load", "a", 0.1, error="no memory"),
            Outcome("Load", "a", 0.1, error="no file"),
            Outcome("Load", "a", 0.1),
        ]
        server.events = [
            event
            for outcome in outcomes
            for event in (ActionStarted("Load", "a"), ActionEnded(outcome))
        ]
        server.events.append(ApplyEnded(True, 1, None))

        assert lmrun("apply", profile).err.splitlines() == [
            "  a: loading",
            "✗ a not loaded: no memory",
            "✗ a not loaded: no file",
            "✓ a loaded in 0.1 s",
        ]

    def test_an_apply_that_breaks_off_has_not_converged(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        server.events = [Planned(server.plan, 3)]

        result = lmrun("apply", profile)

        assert result.code == 1
        assert "closed the connection before the profile was converged" in result.err

    @pytest.mark.parametrize("applied", ["{profile}", "/other.yaml"])
    def test_an_unload_needs_agreement(
        self, lmrun: Run, server: FakeServer, profile: Path, applied: str
    ) -> None:
        server.plan = UNLOAD
        _apply_before(server, applied.format(profile=profile))

        result = lmrun("apply", profile)

        assert (result.code, server.bodies("/lmrun/v1/apply")) == (1, [])
        assert "unloads old; nothing was changed." in result.err
        assert "Hint: --yes agrees to it." in result.err
        assert lmrun("apply", "--yes", profile).code == 0
        assert len(server.bodies("/lmrun/v1/apply")) == 1

    def test_taking_another_profile_s_place_needs_agreement(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        server.plan = LOAD
        _apply_before(server, "/other.yaml")

        result = lmrun("apply", profile)

        assert (result.code, server.bodies("/lmrun/v1/apply")) == (1, [])
        assert "This replaces the applied profile /other.yaml; nothing was changed." in result.err

    def test_loading_for_the_applied_profile_needs_no_agreement(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        server.plan = LOAD
        _apply_before(server, str(profile))

        assert lmrun("apply", "--watch", profile).code == 0
        assert server.bodies("/lmrun/v1/apply")[0]["watch"] is True

    def test_json_is_one_event_per_line(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        lines = lmrun("apply", "--json", profile).out.splitlines()

        assert [json.loads(line)["event"] for line in lines] == ["plan", "apply.end"]

    def test_an_invalid_profile_starts_no_server(
        self, lmrun: Run, home: Path, profile: Path
    ) -> None:
        profile.write_text("version: 9\n")

        result = lmrun("apply", profile)

        assert result.code == 1
        assert "version" in result.err
        assert not (home / "logs").exists()


def _apply_before(server: FakeServer, file: str) -> None:
    current = server.status.profile
    assert current is not None
    changed = type(current)((file,), 3, 3, watching=False)
    server.status = status(*server.status.models, profile=changed)


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


class TestChat:
    def test_the_answer_is_written_to_stdout(self, lmrun: Run, server: FakeServer) -> None:
        server.chat = ["Par", "is", "."]

        result = lmrun("chat", "Capital", "of France?")

        assert (result.code, result.out, result.err) == (0, "Paris.\n", "")
        assert server.bodies("/v1/chat/completions") == [
            {
                "model": "assistant",
                "messages": [{"role": "user", "content": "Capital of France?"}],
                "stream": True,
            }
        ]

    def test_settings_and_system_message_are_sent(self, lmrun: Run, server: FakeServer) -> None:
        settings = [
            "--temperature",
            "0",
            "--max-tokens",
            "5",
            "--seed",
            "7",
            "--system",
            "Be kind.",
        ]

        lmrun("chat", "-m", "assistant", *settings, "Hi")

        body = server.bodies("/v1/chat/completions")[0]
        assert (body["temperature"], body["max_tokens"], body["seed"]) == (0, 5, 7)
        assert body["messages"][0] == {"role": "system", "content": "Be kind."}

    @pytest.mark.parametrize("arguments", [["--api-key", "k1"], []])
    def test_the_api_key_is_sent(
        self,
        lmrun: Run,
        server: FakeServer,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        monkeypatch.setenv("LMRUN_API_KEY", "k1")

        lmrun("chat", *arguments, "Hi")

        assert server.headers[-1]["Authorization"] == "Bearer k1"

    @pytest.mark.parametrize(
        ("models", "arguments", "message", "hint"),
        [
            ([], ["hi"], "No model is ready.", "See `lmrun status`."),
            (
                [model("a", instance("a")), model("b", instance("b"))],
                ["hi"],
                "Several models are ready.",
                "Choose one with -m: a, b.",
            ),
            (
                [model("smollm2", instance("assistant"))],
                ["-m", "asistant", "hi"],
                "No model is called asistant.",
                "Did you mean assistant?",
            ),
            (
                [model("smollm2", instance("assistant"))],
                ["-m", "gpt-4o", "hi"],
                "No model is called gpt-4o.",
                "There is: assistant, smollm2.",
            ),
        ],
    )
    def test_a_model_that_cannot_be_meant_is_an_error_with_a_way_out(
        self,
        lmrun: Run,
        server: FakeServer,
        models: list[object],
        arguments: list[str],
        message: str,
        hint: str,
    ) -> None:
        server.status = status(*models, address=server.status.server.address)  # type: ignore[arg-type]

        result = lmrun("chat", *arguments)

        assert result.code == 1
        assert result.err.splitlines() == [f"Error: {message}", f"Hint: {hint}"]

    def test_a_refusal_is_one_line(self, lmrun: Run, server: FakeServer) -> None:
        server.chat = (400, refusal("the prompt is longer than the context"))

        result = lmrun("chat", "Hi")

        assert (result.code, result.err) == (1, "Error: the prompt is longer than the context\n")

    def test_an_answer_that_was_cut_off_says_so(self, lmrun: Run, server: FakeServer) -> None:
        server.chat, server.finish_reason = ["Once"], "length"

        result = lmrun("chat", "Tell")

        assert (result.code, result.out) == (0, "Once\n")
        assert "cut off" in result.err

    def test_without_a_server_there_is_a_hint(self, lmrun: Run) -> None:
        result = lmrun("chat", "Hi")

        assert result.code == 1
        assert result.err.splitlines()[1] == "Hint: `lmrun apply PROFILE` starts it."


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
