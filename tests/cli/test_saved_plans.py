"""Plans in files: written by `plan --out`, taken by `apply`, refused when they are no plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmrun.reconcile.outcome import Action, FieldChange, Plan
from tests.cli.conftest import Run
from tests.support.control import FakeServer

PLAN = Plan(3, (Action("Unload", "old", "old", (FieldChange("models.old", "ready", None),)),))


def save(lmrun: Run, server: FakeServer, profile: Path, out: Path) -> dict[str, Any]:
    server.plan = PLAN
    result = lmrun("plan", profile, "--out", out)
    assert result.code == 0, result.err
    assert f"lmrun apply {out}" in result.err
    saved: dict[str, Any] = json.loads(out.read_text())
    return saved


def test_a_saved_plan_names_its_profile_and_is_private(
    lmrun: Run, server: FakeServer, profile: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.plan"
    saved = save(lmrun, server, profile, out)
    assert (saved["lmrun_plan"], saved["profile"]) == (1, str(profile))
    assert msgspec.convert(saved["plan"], Plan) == PLAN
    assert out.stat().st_mode & 0o077 == 0


def test_applying_a_saved_plan_asks_nobody_and_sends_it_along(
    lmrun: Run, server: FakeServer, profile: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.plan"
    saved = save(lmrun, server, profile, out)
    server.asked.clear()
    result = lmrun("apply", out)
    assert result.code == 0, result.err
    assert "unload  old" in result.out
    (body,) = server.bodies("/lmrun/v1/apply")
    assert (body["file"], body["plan"]) == (str(profile), saved["plan"])
    assert server.bodies("/lmrun/v1/plan") == []


def test_applying_a_profile_sends_no_plan(lmrun: Run, server: FakeServer, profile: Path) -> None:
    assert lmrun("apply", profile).code == 0
    (body,) = server.bodies("/lmrun/v1/apply")
    assert body["plan"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lmrun_plan": 2}, "saved plan of format 2; this lmrun reads 1"),
        ({"plan": {"base_generation": "x"}}, "no saved plan that this lmrun can read"),
        ({"extra": 1}, "no saved plan that this lmrun can read"),
    ],
)
def test_a_plan_that_cannot_be_read_is_refused(
    lmrun: Run,
    server: FakeServer,
    profile: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    out = tmp_path / "p.plan"
    saved = save(lmrun, server, profile, out)
    out.write_text(json.dumps({**saved, **changes}))
    result = lmrun("apply", out)
    assert (result.code, message in result.err) == (1, True), result.err
    assert server.bodies("/lmrun/v1/apply") == []


def test_a_plan_that_cannot_be_written_is_an_error(
    lmrun: Run, server: FakeServer, profile: Path, tmp_path: Path
) -> None:
    result = lmrun("plan", profile, "--out", tmp_path / "missing" / "p.plan")
    assert result.code == 1
    assert "p.plan" in result.err
