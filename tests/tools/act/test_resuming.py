"""Runs that outlive their server: stopped, failed, and gone on with by the next one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmrun.chat.messages import ImagePart, Message, TextPart
from lmrun.errors import (
    BudgetExceeded,
    DiskFull,
    EngineCrashed,
    RunConflict,
    RunError,
)
from lmrun.store.runs import StoredRuns
from lmrun.tools.act.events import ActEnd, CallSucceeded
from lmrun.tools.act.requests import ActRequest, LimitsChoice
from tests.tools.act.servers import ADD, SUM, Held, opened, until_state
from tests.tools.act.stand_ins import (
    CALLER,
    ScriptedModel,
    calls,
    end_of,
    gather,
    make_add,
    says,
    within,
)


def test_a_stopped_server_s_runs_are_interrupted_and_go_on(tmp_path: Path) -> None:
    async def body() -> None:
        add, held = make_add(), Held(is_idempotent=True)
        first = ScriptedModel(calls(ADD), calls(("t", "{}")))
        attached = msgspec.structs.replace(SUM, tools=("add", "t"))
        detached = msgspec.structs.replace(attached, background=True)
        async with opened(first, add, held.tool, home=tmp_path) as runs:
            there = await runs.start(attached, CALLER)
            following = asyncio.create_task(gather(runs.follow(there.id)))
            await held.begun.wait()
            held.begun.clear()
            first.asked.clear()
            away = await runs.start(detached, CALLER)
            await held.begun.wait()
            assert len(add.made) == 2
        with pytest.raises(RunError, match="interrupted"):
            await following
        held.go.set()
        second = ScriptedModel(says("done"))
        async with opened(second, add, held.tool, home=tmp_path) as runs:
            await until_state(runs, away.id, "completed")
            assert (await runs.get(there.id)).summary.state == "interrupted"
            with pytest.raises(RunError, match="interrupted"):
                await gather(runs.follow(there.id))
            assert (await runs.resume(there.id)).state == "running"
            events = await gather(runs.follow(there.id))
            assert end_of(events).text == "done"
            assert [it.name for it in events if isinstance(it, CallSucceeded)] == ["add", "t"]
            assert len(add.made) == 2
            assert len(held.tool.made) == 4
            with pytest.raises(RunConflict):
                await runs.resume(there.id)

    within(body)


def test_an_interrupted_run_can_be_cancelled(tmp_path: Path) -> None:
    async def body() -> None:
        held = Held()
        model = ScriptedModel(calls(("t", "{}")))
        async with opened(model, held.tool, home=tmp_path) as runs:
            run = await runs.start(msgspec.structs.replace(SUM, tools=("t",)), CALLER)
            await held.begun.wait()
        async with opened(model, held.tool, home=tmp_path) as runs:
            assert (await runs.cancel(run.id)).state == "cancelled"

    within(body)


def test_a_call_that_had_begun_is_made_again_only_if_that_is_as_good(tmp_path: Path) -> None:
    async def body() -> None:
        held = Held()
        async with opened(ScriptedModel(calls(("t", "{}"))), held.tool, home=tmp_path) as runs:
            run = await runs.start(msgspec.structs.replace(SUM, tools=("t",)), CALLER)
            await held.begun.wait()
        model = ScriptedModel(says("I shall look."))
        async with opened(model, held.tool, home=tmp_path) as runs:
            await runs.resume(run.id)
            await gather(runs.follow(run.id))
        assert len(held.tool.made) == 1
        assert "unknown" in str(model.conversation[-1].content)

    within(body)


def test_a_failed_run_says_why_and_can_go_on(tmp_path: Path) -> None:
    def crash(request: Any) -> Any:
        raise EngineCrashed("The worker died.", hint="Look at its log.")

    async def body() -> None:
        add = make_add()
        async with opened(ScriptedModel(calls(ADD), crash), add, home=tmp_path) as runs:
            run = await runs.start(SUM, CALLER)
            with pytest.raises(EngineCrashed):
                await gather(runs.follow(run.id))
            failure = (await runs.get(run.id)).failure
            assert failure is not None
            assert (failure.code, failure.hint) == ("engine_crashed", "Look at its log.")
        async with opened(ScriptedModel(says("5")), add, home=tmp_path) as runs:
            with pytest.raises(RunError, match="The worker died"):
                await gather(runs.follow(run.id))
            await runs.resume(run.id)
            assert end_of(await gather(runs.follow(run.id))).text == "5"
            assert (await runs.get(run.id)).failure is None
            assert len(add.made) == 1

    within(body)


def test_a_used_up_budget_is_told_again(tmp_path: Path) -> None:
    async def body() -> None:
        limits = LimitsChoice(max_rounds=2)
        request = msgspec.structs.replace(SUM, limits=limits)
        model = ScriptedModel(calls(ADD))
        async with opened(model, make_add(), home=tmp_path) as runs:
            run = await runs.start(request, CALLER)
            with pytest.raises(BudgetExceeded):
                await gather(runs.follow(run.id))
        async with opened(model, make_add(), home=tmp_path) as runs:
            with pytest.raises(BudgetExceeded) as told:
                await gather(runs.follow(run.id))
            assert told.value.budget == "max_rounds"
            await runs.resume(run.id)
            with pytest.raises(BudgetExceeded):
                await gather(runs.follow(run.id))

    within(body)


def test_what_was_asked_outlives_the_process_as_it_was(tmp_path: Path) -> None:
    prediction = {
        "stop_strings": ["x"],
        "logit_bias": {"5": -1.0},
        "structured": {"type": "json", "json_schema": {"type": "object"}},
    }
    picture = Message("user", (TextPart("What is  this?"), ImagePart(b"\x89PNG\x00")))
    held = Held()
    request = ActRequest((picture,), model="m", tools=("t",), prediction=prediction)

    async def body() -> None:
        first = ScriptedModel(calls(("t", "{}")))
        async with opened(first, held.tool, home=tmp_path) as runs:
            run = await runs.start(request, CALLER)
            assert run.task == "What is this?"
            await held.begun.wait()
        second = ScriptedModel(says("ok"))
        async with opened(second, held.tool, home=tmp_path) as runs:
            await runs.resume(run.id)
            await gather(runs.follow(run.id))
        assert second.predictions == first.predictions
        assert second.predictions[0].model_fields_set == set(prediction)
        assert second.conversation[0] == picture

    within(body)


def test_fifty_runs_at_once_all_finish(tmp_path: Path) -> None:
    async def body() -> None:
        def answer(request: Any) -> Any:
            made = sum(message.role == "tool" for message in request.messages)
            return says("5") if made == 4 else calls(("add", f'{{"a": {made}, "b": 1}}'))

        add = make_add()
        async with opened(ScriptedModel(answer), add, home=tmp_path) as runs:

            async def one() -> ActEnd:
                run = await runs.start(SUM, CALLER)
                return end_of(await gather(runs.follow(run.id)))

            ends = await asyncio.gather(*(one() for _ in range(50)))
            assert [(end.text, end.calls) for end in ends] == [("5", 4)] * 50
            assert len(await runs.list("completed")) == 50
        assert len(add.made) == 200

    within(body)


def test_a_server_that_stops_as_soon_as_it_has_started_loses_no_run(tmp_path: Path) -> None:
    async def body() -> None:
        held = Held(is_idempotent=True)
        request = msgspec.structs.replace(SUM, tools=("t",), background=True)
        model = ScriptedModel(calls(("t", "{}")), says("ok"))
        async with opened(model, held.tool, home=tmp_path) as runs:
            run = await runs.start(request, CALLER)
            await held.begun.wait()
        asked = len(model.asked)
        async with opened(model, held.tool, home=tmp_path):
            pass
        assert len(model.asked) == asked
        held.go.set()
        async with opened(model, held.tool, home=tmp_path) as runs:
            await until_state(runs, run.id, "completed")

    within(body)


class FullDisk(StoredRuns):
    """`full_for`: what it has no room for, `steps` or `states`."""

    full_for = ""

    def append(self, id: str, content: bytes) -> None:
        if self.full_for == "steps":
            raise DiskFull("There is no room.")
        super().append(id, content)

    def set_state(self, id: str, state: str, outcome: bytes | None = None) -> None:
        if self.full_for == "states":
            raise DiskFull("There is no room.")
        super().set_state(id, state, outcome)


def test_nothing_is_done_that_cannot_be_written_down_before() -> None:
    async def body() -> None:
        store = FullDisk()
        store.full_for = "steps"
        add, model = make_add(), ScriptedModel(calls(ADD), calls(ADD), says("5"))
        async with opened(model, add, store=store) as runs:
            run = await runs.start(SUM, CALLER)
            with pytest.raises((DiskFull, RunError), match="no room"):
                await gather(runs.follow(run.id))
            assert add.made == []
            failure = (await runs.get(run.id)).failure
            assert failure is not None and failure.code == "disk_full"
            store.full_for = ""
            assert (await runs.resume(run.id)).state == "running"
            assert end_of(await gather(runs.follow(run.id))).text == "5"
            assert len(add.made) == 1

    within(body)


def test_a_run_whose_end_could_not_be_written_down_can_be_cancelled() -> None:
    async def body() -> None:
        store = FullDisk()
        held = Held()
        model = ScriptedModel(calls(("t", "{}")))
        async with opened(model, held.tool, store=store) as runs:
            run = await runs.start(msgspec.structs.replace(SUM, tools=("t",)), CALLER)
            await held.begun.wait()
            store.full_for = "states"
            with pytest.raises(DiskFull):
                await runs.cancel(run.id)
            assert held.tool.open == 0
            with pytest.raises(RunError, match="interrupted"):
                await gather(runs.follow(run.id))
            store.full_for = ""
            assert (await runs.cancel(run.id)).state == "cancelled"

    within(body)
