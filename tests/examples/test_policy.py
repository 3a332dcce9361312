"""`examples/policy`: its cases are judged as they say, by the command that its comment names."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Run, environment, home, lmrun

__all__ = ["environment", "home", "lmrun"]

ROOT = Path(__file__).parents[2]


def test_every_case_of_the_example_is_judged_as_it_says(
    lmrun: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "examples" / "policy" / "profile.yaml").read_text()
    (command,) = [line.strip("# ") for line in text.splitlines() if line.startswith("#   lmrun")]

    result = lmrun(*shlex.split(command)[1:])

    assert (result.code, result.out) == (0, "14 cases: 14 passed.\n")
