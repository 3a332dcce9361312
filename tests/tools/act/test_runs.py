"""Durable runs: begun once, followed by many, cancelled, resumed, and kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from lmrun.chat.events import MessageDelta, ToolCallArguments
from lmrun.chat.messages import Message
from lmrun.errors import (
    InvalidParameter,
    ModelNotFound,
    RunConflict,
    RunError,
    RunNotFound,
)
from lmrun.tools.act.events import ApprovalNeeded, Told
from lmrun.tools.act.requests import ActRequest, LimitsChoice
from lmrun.tools.tool import Caller
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


def test_a_run_is_begun_followed_to_its_end_and_kept() -> None:
    async def body() -> None:
        add, model = make_add(), ScriptedModel(calls(ADD), says("It is 5."))
        async with opened(model, add) as runs:
            run = await runs.start(SUM, Caller("act", key="ci"))
            assert (run.state, run.model, run.key, run.task) == ("running", "m", "ci", "2 + 3?")
            events = await gather(runs.follow(run.id))
            assert end_of(events).text == "It is 5."
            found = await runs.get(run.id)
            assert found.summary.state == "completed"
            assert (found.text, found.rounds, found.calls) == ("It is 5.", 2, 1)
            assert [it.role for it in found.messages] == ["user", "assistant", "tool", "assistant"]
            assert found.usage == end_of(events).usage
            assert await gather(runs.follow(run.id)) == shorten(events)
            assert [it.id for it in await runs.list()] == [run.id]
            assert await runs.list("running") == []

    within(body)


def shorten(events: Sequence[Told]) -> list[Told]:
    """As they are told again: a call's arguments in one piece."""
    shortened: list[Told] = []
    for event in events:
        last = shortened[-1] if shortened else None
        if isinstance(event, ToolCallArguments) and isinstance(last, ToolCallArguments):
            shortened[-1] = ToolCallArguments(event.index, last.text + event.text)
        else:
            shortened.append(event)
    return shortened


@pytest.mark.parametrize("turns", [*range(12), 20, 40])
def test_whoever_leaves_before_the_first_event_ends_the_run_too(turns: int) -> None:
    """Wherever between asking for the run and following it: nobody waits for a patience's end."""

    async def body() -> None:
        held = Held()
        async with opened(ScriptedModel(calls(("t", "{}")), says("ok")), held.tool) as runs:

            async def ask() -> None:
                run = await runs.start(msgspec.structs.replace(SUM, tools=("t",)), CALLER)
                await gather(runs.follow(run.id))

            asking = asyncio.create_task(ask())
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert [it.state for it in await runs.list()] in ([], ["cancelled"])

    within(body)


def test_several_follow_one_run_from_its_first_event() -> None:
    async def body() -> None:
        held = Held()
        model = ScriptedModel(calls(("t", "{}"), text="Well. "), says("ok"))
        async with opened(model, held.tool) as runs:
            run = await runs.start(
                msgspec.structs.replace(SUM, tools=("t",), background=True), CALLER
            )
            early = asyncio.create_task(gather(runs.follow(run.id)))
            await held.begun.wait()
            late = asyncio.create_task(gather(runs.follow(run.id)))
            await asyncio.sleep(0)
            held.go.set()
            assert shorten(await early) == shorten(await late)
            assert end_of(await late).text == "ok"

    within(body)


def test_a_follower_who_does_not_read_holds_nobody_up_and_misses_nothing() -> None:
    async def body() -> None:
        words = [MessageDelta(f"{n} ") for n in range(5000)]
        model = ScriptedModel([*words, *says("end")])
        async with opened(model) as runs:
            run = await runs.start(msgspec.structs.replace(SUM, background=True), CALLER)
            slow = runs.follow(run.id)
            first = await anext(slow)
            await until_state(runs, run.id, "completed")
            rest = await gather(slow)
            text = "".join(it.text for it in rest if isinstance(it, MessageDelta))
            assert text == "".join(it.text for it in words) + "end"
            assert len(rest) < 50
            assert first != rest[0]

    within(body)


def test_the_same_idempotency_key_is_the_same_run_and_never_another() -> None:
    async def body() -> None:
        add, model = make_add(), ScriptedModel(calls(ADD), says("5"))
        request = msgspec.structs.replace(SUM, idempotency_key="k")
        async with opened(model, add) as runs:
            begun = await asyncio.gather(*(runs.start(request, CALLER) for _ in range(8)))
            assert len({run.id for run in begun}) == 1
            await gather(runs.follow(begun[0].id))
            again = await runs.start(request, CALLER)
            assert (again.id, again.state) == (begun[0].id, "completed")
            assert end_of(await gather(runs.follow(again.id))).text == "5"
            assert len(add.made) == 1
            other = msgspec.structs.replace(request, messages=(Message("user", "3 + 4?"),))
            with pytest.raises(RunConflict):
                await runs.start(other, CALLER)
            assert len(await runs.list()) == 1
            theirs = await runs.start(request, Caller("act", key="somebody else"))
            assert theirs.id != again.id

    within(body)


def test_a_cancelled_run_stops_at_once_and_says_so() -> None:
    async def body() -> None:
        held = Held()
        async with opened(ScriptedModel(calls(("t", "{}"))), held.tool) as runs:
            run = await runs.start(
                msgspec.structs.replace(SUM, tools=("t",), background=True), CALLER
            )
            following = asyncio.create_task(gather(runs.follow(run.id)))
            await held.begun.wait()
            assert (await runs.cancel(run.id)).state == "cancelled"
            assert held.tool.open == 0
            with pytest.raises(RunError, match="cancelled"):
                await following
            with pytest.raises(RunError, match="cancelled"):
                await gather(runs.follow(run.id))
            assert (await runs.cancel(run.id)).state == "cancelled"
            with pytest.raises(RunConflict):
                await runs.resume(run.id)

    within(body)


def test_a_run_cancelled_right_after_its_start_is_cancelled() -> None:
    async def body() -> None:
        held = Held()
        async with opened(ScriptedModel(calls(("t", "{}"))), held.tool) as runs:
            run = await runs.start(SUM, CALLER)
            assert (await runs.cancel(run.id)).state == "cancelled"
            assert held.tool.open == 0

    within(body)


def test_what_has_ended_cannot_be_cancelled_or_resumed() -> None:
    async def body() -> None:
        async with opened(ScriptedModel(says("Hi"))) as runs:
            run = await runs.start(SUM, CALLER)
            await gather(runs.follow(run.id))
            with pytest.raises(RunConflict):
                await runs.cancel(run.id)
            with pytest.raises(RunConflict):
                await runs.resume(run.id)
            with pytest.raises(RunConflict):
                await runs.reply(run.id, "call00000", "once")
            for ask in (runs.get, runs.cancel, runs.resume):
                with pytest.raises(RunNotFound):
                    await ask("run_none")
            with pytest.raises(RunNotFound):
                await gather(runs.follow("run_none"))

    within(body)


def test_a_run_ends_with_its_last_follower_unless_it_is_in_the_background() -> None:
    async def body() -> None:
        held = Held()
        async with opened(ScriptedModel(calls(("t", "{}")), says("ok")), held.tool) as runs:
            request = msgspec.structs.replace(SUM, tools=("t",))
            run = await runs.start(request, CALLER)
            first, second = runs.follow(run.id), runs.follow(run.id)
            await anext(first)
            await anext(second)
            await held.begun.wait()
            await second.aclose()
            assert (await runs.get(run.id)).summary.state == "running"
            await first.aclose()
            assert (await runs.get(run.id)).summary.state == "cancelled"
            assert held.tool.open == 0

            run = await runs.start(msgspec.structs.replace(request, background=True), CALLER)
            only = runs.follow(run.id)
            await anext(only)
            await only.aclose()
            held.go.set()
            await until_state(runs, run.id, "completed")

    within(body)


def test_a_run_that_nobody_ever_follows_is_given_up() -> None:
    async def body() -> None:
        held = Held()
        async with opened(ScriptedModel(calls(("t", "{}"))), held.tool, patience_s=0.05) as runs:
            run = await runs.start(msgspec.structs.replace(SUM, tools=("t",)), CALLER)
            await until_state(runs, run.id, "cancelled")
            assert held.tool.open == 0

    within(body)


def test_whoever_lost_the_connection_finds_the_run_again_by_its_key() -> None:
    async def body() -> None:
        held = Held()
        request = msgspec.structs.replace(SUM, tools=("t",), idempotency_key="k")
        model = ScriptedModel(calls(("t", "{}")), says("ok"))
        async with opened(model, held.tool, patience_s=1.0) as runs:
            run = await runs.start(request, CALLER)
            lost = runs.follow(run.id)
            await anext(lost)
            await held.begun.wait()
            await lost.aclose()
            again = await runs.start(request, CALLER)
            assert (again.id, again.state) == (run.id, "running")
            following = asyncio.create_task(gather(runs.follow(again.id)))
            await asyncio.sleep(1.2)
            held.go.set()
            assert end_of(await following).text == "ok"

            other = msgspec.structs.replace(request, idempotency_key="l")
            held.go.clear()
            model.asked.clear()
            run = await runs.start(other, CALLER)
            lost = runs.follow(run.id)
            await anext(lost)
            await lost.aclose()
            await until_state(runs, run.id, "cancelled")

    within(body)


def test_a_question_waits_until_somebody_answers() -> None:
    async def body() -> None:
        add = make_add(policy="ask")
        model = ScriptedModel(calls(ADD), says("5"))
        async with opened(model, add) as runs:
            run = await runs.start(msgspec.structs.replace(SUM, approvals=True), CALLER)
            async for event in runs.follow(run.id):
                if isinstance(event, ApprovalNeeded):
                    assert (await runs.get(run.id)).questions == (event.question,)
                    with pytest.raises(RunConflict):
                        await runs.reply(run.id, "another", "once")
                    await runs.reply(run.id, event.question.id, "once")
                    with pytest.raises(RunConflict):
                        await runs.reply(run.id, event.question.id, "no")
            assert (await runs.get(run.id)).text == "5"
            assert len(add.made) == 1

    within(body)


def test_without_approvals_nobody_is_asked() -> None:
    async def body() -> None:
        add = make_add(policy="ask")
        async with opened(ScriptedModel(calls(ADD), says("A pity.")), add) as runs:
            run = await runs.start(SUM, CALLER)
            events = await gather(runs.follow(run.id))
            assert not [it for it in events if isinstance(it, ApprovalNeeded)]
            assert add.made == []

    within(body)


def test_an_agent_is_its_model_with_its_preset_tools_and_limits() -> None:
    async def body() -> None:
        model = ScriptedModel(says("Hi"))
        async with opened(model, make_add()) as runs:
            request = ActRequest((Message("user", "Hi"),), agent="helper")
            run = await runs.start(request, CALLER)
            await gather(runs.follow(run.id))
            assert (run.model, run.agent) == ("m", "helper")
            assert model.conversation[0] == Message("system", "Be brief.")
            assert model.predictions[0].temperature == 0.0
            by_name = await runs.start(ActRequest((Message("user", "Hi"),), model="helper"), CALLER)
            assert by_name.agent == "helper"
            await gather(runs.follow(by_name.id))

    within(body)


@pytest.mark.parametrize(
    ("change", "error", "param"),
    [
        ({"messages": ()}, InvalidParameter, "messages"),
        ({"model": None}, InvalidParameter, "model"),
        ({"agent": "helper"}, InvalidParameter, "model"),
        ({"model": None, "agent": "nobody"}, ModelNotFound, "agent"),
        ({"model": None, "agent": "helper"}, InvalidParameter, "tools"),
        ({"tools": ("ad",)}, InvalidParameter, "tools[0]"),
        ({"tools": ("add", "mcp/time/now")}, InvalidParameter, "tools[1]"),
        ({"tools": ("../x",)}, InvalidParameter, "tools[0]"),
        ({"prediction": {"temperature": "hot"}}, InvalidParameter, "prediction.temperature"),
        ({"prediction": {"nonsense": 1}}, InvalidParameter, "prediction.nonsense"),
        ({"limits": LimitsChoice(max_rounds=0)}, InvalidParameter, "limits.max_rounds"),
        ({"limits": LimitsChoice(time_s=-1)}, InvalidParameter, "limits.time_s"),
        (
            {"model": "helper", "tools": (), "limits": LimitsChoice(max_rounds=3)},
            InvalidParameter,
            "limits.max_rounds",
        ),
        ({"idempotency_key": ""}, InvalidParameter, "idempotency_key"),
    ],
)
def test_what_a_request_asks_in_vain_is_refused_by_name(
    change: dict[str, Any], error: type[Exception], param: str
) -> None:
    async def body() -> None:
        async with opened(ScriptedModel(says("Hi"))) as runs:
            with pytest.raises(error) as refused:
                await runs.start(msgspec.structs.replace(SUM, **change), CALLER)
            assert getattr(refused.value, "param", None) == param
            assert await runs.list() == []

    within(body)
