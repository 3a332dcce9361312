"""Calls that were allowed and wait for their turn: what is applied meanwhile counts for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lmrun.tools.act.events import CallFailed, CallSucceeded
from lmrun.tools.act.limits import Limits
from lmrun.tools.declared import make_declared_spec
from tests.profile.support import load
from tests.support.policies import House
from tests.tools.act.stand_ins import ScriptedModel, StandInTool, calls, gather, says, start, within

ALLOWED = """\
version: 1
tools:
  rm: {command: [rm, "{path}"], parameters: {path: {type: string}}, policy: allow}
"""


@pytest.mark.parametrize(
    ("then", "told"),
    [
        (ALLOWED, None),
        (ALLOWED.replace("allow", "allow, timeout: 1m"), None),
        (
            ALLOWED.replace("allow", "ask"),
            "denied: whoever calls without an API key cannot agree to it",
        ),
        (ALLOWED.replace("allow", "deny"), "denied: the profile denies this tool"),
        ("version: 1\n", "denied: the profile does not declare this tool any more"),
    ],
)
def test_what_denies_them_by_then_counts(tmp_path: Path, then: str, told: str | None) -> None:
    async def body() -> None:
        loaded = load(ALLOWED)
        house = House(tmp_path, loaded)

        async def work(arguments: Mapping[str, Any]) -> str:
            async with asyncio.timeout(5):
                while sum(it["event"] == "decision" for it in house.lines()) < 2:
                    await asyncio.sleep(0.01)
            house.loaded = load(then)
            return "removed"

        tool = StandInTool(make_declared_spec("rm", loaded.profile.tools["rm"]), work)
        model = ScriptedModel(calls(("rm", '{"path": "a"}'), ("rm", '{"path": "b"}')), says("ok"))
        events = await gather(
            start(model, tool, gate=house.gate, limits=Limits(parallel_calls=1))  # type: ignore[arg-type]
        )
        results = [it for it in events if isinstance(it, CallSucceeded | CallFailed)]
        assert [it.index for it in results] == [0, 1]
        assert isinstance(results[0], CallSucceeded)
        assert len(tool.made) == (2 if told is None else 1)
        if told is not None:
            assert isinstance(results[1], CallFailed)
            assert results[1].text == told
            last = house.lines()[-1]
            assert (last["event"], last["allowed"], last["reason"]) == (
                "decision",
                False,
                told.removeprefix("denied: "),
            )
        house.stop()

    within(body)
