"""What a plan looks like."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lmrun.cli.commands.plans import render_plan
from lmrun.cli.terminal import _ANSI
from lmrun.reconcile.outcome import Action, FieldChange, MemoryPrice, Plan

LOAD = Action(
    "Load",
    "assistant",
    "smollm2",
    (FieldChange("models.smollm2.state", None, "loaded"),),
    fetch_bytes=98_000_000,
    memory_bytes=120_000_000,
)


def show(*actions: Action) -> list[str]:
    return _ANSI.sub("", render_plan(Plan(2, actions))).splitlines()


def test_an_empty_plan_says_that_there_is_nothing_to_do() -> None:
    assert show() == ["No changes. What runs or is being loaded is what the profile says."]


@pytest.mark.parametrize(
    ("action", "lines"),
    [
        (
            LOAD,
            [
                "  + load    assistant (smollm2) · download 98 MB · +120 MB memory",
                "              models.smollm2.state: loaded",
                "",
                "Plan: 1 to load. Download: 98 MB.",
            ],
        ),
        (
            Action("Listen", "127.0.0.1:1234", None, (FieldChange("server.port", "80", "1234"),)),
            [
                "  + listen  127.0.0.1:1234",
                "              server.port: 80 → 1234",
                "",
                "Plan: 1 to listen.",
            ],
        ),
        (
            Action("Load", "m", "m", (), fetch_bytes=None),
            ["  + load    m · download, size not known yet", "", "Plan: 1 to load."],
        ),
        (
            Action("Reload", "m", "m", (FieldChange("load.threads", None, "2"),), streams=1),
            [
                "-/+ reload  m · 1 running request finishes first",
                "              load.threads: 2",
                "",
                "Plan: 1 to reload.",
            ],
        ),
        (
            Action("Unload", "m", "m", (), memory_bytes=-5_000_000, streams=2),
            [
                "  - unload  m · -5 MB memory · ends 2 running requests",
                "",
                "Plan: 1 to unload.",
            ],
        ),
        (
            Action(
                "Reload",
                "m",
                "m",
                (),
                streams=3,
                clients=("ci", "web"),
                seconds=2.54,
                rollout="recreate",
            ),
            [
                "-/+ reload  m · about 2.5 s · requests wait meanwhile · "
                "3 running requests of ci, web finish first",
                "",
                "Plan: 1 to reload. Time: about 2.5 s.",
            ],
        ),
        (
            Action("Load", "m", "m", (), problem="There is no file m.gguf.\nLooked in /models."),
            [
                "  + load    m",
                "              ! There is no file m.gguf.",
                "                Looked in /models.",
                "",
                "Plan: 1 to load.",
            ],
        ),
    ],
)
def test_each_action_shows_its_symbol_its_cost_and_its_reasons(
    action: Action, lines: list[str]
) -> None:
    assert show(action) == lines


def test_the_last_line_counts_by_kind() -> None:
    update = Action("Update", "x", "x", (FieldChange("preset", "a", None),))

    assert show(LOAD, LOAD, update)[-1] == "Plan: 2 to load, 1 to update. Download: 196 MB."


def test_the_times_of_loads_are_added_up_and_what_is_not_known_is_said() -> None:
    known, unknown = (replace(LOAD, seconds=seconds) for seconds in (12.4, None))

    assert show(known, known)[-1].endswith("Time: about 25 s.")
    assert show(known, unknown)[-1].endswith(
        "Time: about 12 s, and more for what was never loaded here."
    )


@pytest.mark.parametrize(
    ("memory", "line"),
    [
        (MemoryPrice(0, 120_000_000, 120_000_000), "Memory: 0 B → 120 MB."),
        (
            MemoryPrice(100_000_000, 90_000_000, 190_000_000, 2_000_000_000),
            "Memory: 100 MB → 90 MB, 190 MB on the way; 2 GB are free.",
        ),
    ],
)
def test_the_memory_of_all_is_told_before_after_and_on_the_way(
    memory: MemoryPrice, line: str
) -> None:
    shown = _ANSI.sub("", render_plan(Plan(2, (LOAD,), memory))).splitlines()

    assert shown[-1] == line


def test_what_is_taken_out_of_the_profile_does_not_look_like_what_is_new() -> None:
    changes = (FieldChange("tools.new", None, "{}"), FieldChange("tools.old", "{}", None))

    assert show(Action("Update", "tools", None, changes))[1:3] == [
        "              tools.new: {}",
        "              tools.old: {} → (unset)",
    ]


def test_a_value_in_a_profile_cannot_steer_the_terminal() -> None:
    change = FieldChange("presets.a.system_prompt", None, "\x1b[2Jgone")

    assert "\x1b[2J" not in render_plan(Plan(1, (Action("Update", "m", "m", (change,)),)))
