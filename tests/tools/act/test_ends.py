"""The end of a run, however it comes: whoever keeps something for it is told once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from lmrun.errors import BudgetExceeded
from lmrun.store.approvals import Approvals
from lmrun.tools.act.events import ApprovalNeeded
from lmrun.tools.act.requests import LimitsChoice
from lmrun.tools.policy.audit import AuditLog
from lmrun.tools.policy.gate import Wish
from lmrun.tools.policy.policy_gate import PolicyGate
from tests.support.policies import AT_THE_TERMINAL
from tests.tools.act.servers import ADD, SUM, Held, opened
from tests.tools.act.stand_ins import (
    CALLER,
    ScriptedModel,
    calls,
    gather,
    make_add,
    says,
    within,
)

HELD = msgspec.structs.replace(SUM, tools=("t",), background=True)


def test_one_that_is_completed_or_fails_has_ended() -> None:
    async def body() -> None:
        ended: list[str] = []
        model = ScriptedModel(says("5"), calls(ADD), calls(ADD))
        async with opened(model, make_add(), on_end=ended.append) as runs:
            good = await runs.start(SUM, CALLER)
            await gather(runs.follow(good.id))
            assert ended == [good.id]
            hasty = msgspec.structs.replace(SUM, limits=LimitsChoice(calls=1))
            bad = await runs.start(hasty, CALLER)
            with pytest.raises(BudgetExceeded):
                await gather(runs.follow(bad.id))
            assert ended == [good.id, bad.id]

    within(body)


def test_one_that_is_cancelled_or_interrupted_has_ended() -> None:
    async def body() -> None:
        ended: list[str] = []
        held = Held()
        model = ScriptedModel(calls(("t", "{}")), calls(("t", "{}")))
        async with opened(model, held.tool, on_end=ended.append) as runs:
            first = await runs.start(HELD, CALLER)
            await held.begun.wait()
            await runs.cancel(first.id)
            assert ended == [first.id]
            held.begun.clear()
            second = await runs.start(HELD, CALLER)
            await held.begun.wait()
        assert ended == [first.id, second.id]

    within(body)


def test_what_was_agreed_to_for_a_run_is_forgotten_with_it(tmp_path: Path) -> None:
    async def body() -> None:
        approvals, audit = Approvals(None), AuditLog(tmp_path / "audit.jsonl")
        gate = PolicyGate(lambda: None, approvals, audit)
        add = make_add(policy="ask")
        model = ScriptedModel(calls(ADD), calls(ADD), says("5"))
        async with opened(model, add, gate=gate, on_end=gate.forget) as runs:
            request = msgspec.structs.replace(SUM, approvals=True)
            run = await runs.start(request, AT_THE_TERMINAL)
            asked = 0
            async for event in runs.follow(run.id):
                if isinstance(event, ApprovalNeeded):
                    asked += 1
                    await runs.reply(run.id, event.question.id, "session")
            assert (asked, len(add.made)) == (1, 2)
        caller = replace(AT_THE_TERMINAL, run=run.id)
        wish = Wish("again", add.spec, {"a": 2, "b": 3}, caller)
        assert not (await gate.decide(wish, None)).is_allowed
        audit.close()
        approvals.close()

    within(body)
