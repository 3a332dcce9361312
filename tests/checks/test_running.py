"""Asking, reading and judging in one go, as a gate does it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmrun.checks.goldens import write_golden
from lmrun.checks.running import find_objections, run_checks
from lmrun.checks.values import Answer, Question, Reply
from lmrun.errors import EngineCrashed
from lmrun.profile.loader import LoadedProfile, load_profile
from tests.checks.values import FINGERPRINT, reply


async def ask(question: Question, on_first: Callable[[], None] = lambda: None) -> Reply:
    if question.prompt.messages[0].content == "Crash.":
        raise EngineCrashed("The worker died.")
    return reply()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., LoadedProfile]:
    """A profile whose checks are given by what they expect, or as a whole."""

    def make(**checks: dict[str, Any]) -> LoadedProfile:
        written = {
            name: fields
            if "expect" in fields
            else {"model": "m", "prompt": "Capital?", "expect": fields}
            for name, fields in checks.items()
        }
        content = {"version": 1, "models": {"m": {"source": "file:m.gguf"}}, "checks": written}
        (tmp_path / "p.yaml").write_text(json.dumps(content))
        return load_profile(tmp_path / "p.yaml", {})

    return make


def test_results_come_in_the_order_of_the_profile(make: Callable[..., LoadedProfile]) -> None:
    loaded = make(b={"contains": "Paris"}, a={"contains": "Rome"}, c={"golden": "g.json"})
    results = asyncio.run(run_checks(loaded, ask))
    assert [(it.name, it.status) for it in results] == [
        ("b", "passed"),
        ("a", "failed"),
        ("c", "stale"),
    ]
    some = asyncio.run(run_checks(loaded, ask, {"c", "b"}))
    assert [it.name for it in some] == ["b", "c"]


def test_golden_files_are_read_beside_the_profile(
    make: Callable[..., LoadedProfile], tmp_path: Path
) -> None:
    loaded = make(good={"golden": "good.json"}, bad={"golden": "bad.json"})
    write_golden(tmp_path / "good.json", FINGERPRINT, reply().answer)
    (tmp_path / "bad.json").write_text("{}")
    good, bad = asyncio.run(run_checks(loaded, ask))
    assert good.status == "passed"
    assert bad.status == "error"
    assert "bad.json is no golden file" in bad.message


def test_a_gate_hears_of_wrong_and_missing_answers_but_not_of_stale_ones(
    make: Callable[..., LoadedProfile], tmp_path: Path
) -> None:
    loaded = make(
        right={"contains": "Paris"},
        wrong={"contains": "Rome", "finish_reason": "length"},
        stale={"golden": "g.json"},
        crashed={"model": "m", "prompt": "Crash.", "expect": {"contains": "x"}},
    )
    write_golden(tmp_path / "g.json", "older-1", Answer("x", "stop"))
    assert asyncio.run(find_objections(loaded, ask)) == (
        "wrong: contains: 'Rome' is not in the answer, finish_reason: it is stop, not length",
        "crashed: The worker died.",
    )
