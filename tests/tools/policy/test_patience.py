"""How long an answer is waited for: in some runs longer than in others."""

from __future__ import annotations

import asyncio
import time

import pytest

from lmrun.tools.policy.gate import Question, Reply
from lmrun.tools.policy.policy_gate import PolicyGate
from lmrun.tools.tool import Caller
from tests.support.policies import House, a_wish


@pytest.mark.parametrize(("run", "is_allowed"), [("patient", True), ("usual", False)])
def test_a_run_says_how_long_it_waits_for_an_answer(
    house: House, run: str, is_allowed: bool
) -> None:
    async def late(question: Question) -> Reply:
        await asyncio.sleep(0.3)
        return "once"

    gate = PolicyGate(
        lambda: house.loaded,
        house.approvals,
        house.audit,
        find_patience=lambda run: 20.0 if run == "patient" else None,
        ask_timeout_s=0.05,
    )
    begun = time.monotonic()
    verdict = asyncio.run(gate.decide(a_wish(caller=Caller("cli", run=run)), late))
    assert verdict.is_allowed is is_allowed
    assert is_allowed or "nobody answered in time" in verdict.reason
    assert time.monotonic() - begun < 10
