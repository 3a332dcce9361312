"""`lmrun apply` against a server that plays one: what it asks, shows, and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
from tests.support.control import FakeServer, status

LOAD = Plan(0, (Action("Load", "assistant", "smollm2", (), fetch_bytes=98_000_000),))
UNLOAD = Plan(3, (Action("Unload", "old", "old", ()),))


class TestApply:
    def test_nothing_to_do_is_said_and_converged(
        self, lmrun: Run, server: FakeServer, profile: Path
    ) -> None:
        result = lmrun("apply", profile)

        assert (result.code, result.err) == (0, "")
        assert result.out.splitlines() == [
            "No changes. What runs or is being loaded is what the profile says.",
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
            "Error: Generation 2 has not converged: assistant: no memory",
            "Hint: What failed is tried again; `lmrun status` shows how it stands.",
        ]

    @pytest.mark.parametrize(
        ("outcomes", "message"),
        [
            ([], "Generation 2 has not converged."),
            (
                [("a", "No memory."), ("b", "No file."), ("c", "No.")],
                "Generation 2 has not converged: a: No memory, and 2 more.",
            ),
            (
                [("a", "No memory."), ("b", "No file."), ("a", None)],
                "Generation 2 has not converged: b: No file.",
            ),
        ],
    )
    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_the_last_line_names_what_failed_last_and_how_much_else(
        self,
        lmrun: Run,
        server: FakeServer,
        profile: Path,
        outcomes: list[tuple[str, str | None]],
        message: str,
        options: list[str],
    ) -> None:
        ended = [ActionEnded(Outcome("Load", name, 0.1, error)) for name, error in outcomes]
        server.events = [Planned(LOAD, 2), *ended, ApplyEnded(False, 2, None)]

        result = lmrun("apply", *options, profile)

        assert (result.code, result.err.splitlines()[-2]) == (1, f"Error: {message}")

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
