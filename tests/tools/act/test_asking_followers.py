"""What MCP servers ask on behalf of a run comes to whoever follows it, where they say that they
answer it; and a list says which runs ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from lmrun.tools.act.events import ApprovalNeeded, Told
from lmrun.tools.act.runs import ANSWER_S, Runs
from lmrun.tools.calling import current_run
from lmrun.tools.mcp.answering.elicitations import Elicitations
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed
from tests.tools.act.servers import ADD, SUM, Held, opened, until_state
from tests.tools.act.stand_ins import (
    CALLER,
    ScriptedModel,
    StandInTool,
    calls,
    end_of,
    gather,
    make_add,
    make_tool,
    says,
    within,
)

SIZE = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
TASK = msgspec.structs.replace(SUM, tools=("*",))
ASKED = ElicitationAsked("elicit_1", "shop", "Which size?", SIZE)


def make_shop(elicitations: Elicitations) -> StandInTool:
    """A tool that asks somebody, as a server does on behalf of the run that calls it."""

    async def work(arguments: Mapping[str, Any]) -> str:
        runs = frozenset({current_run() or "none"})
        said = await elicitations.ask(Elicitation("shop", "Which size?", schema=SIZE, runs=runs))
        return f"{said.action} {dict(said.content or {})}"

    return make_tool("shop", work)


async def until_asked(runs: Runs, id: str, seen: list[Told]) -> None:
    async for event in runs.follow(id):
        seen.append(event)
        if isinstance(event, ElicitationAsked):
            return


def test_followers_are_asked_and_told_when_it_is_over() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        model = ScriptedModel(calls(("shop", "{}")), says("ok"))
        shop = make_shop(elicitations)
        async with opened(model, shop, attend=elicitations.attending) as runs:
            request = msgspec.structs.replace(TASK, elicitations=True, background=True)
            run = await runs.start(request, CALLER)
            early = asyncio.create_task(gather(runs.follow(run.id)))
            seen: list[Told] = []
            await until_asked(runs, run.id, seen)
            assert seen[-1] == ASKED
            late: list[Told] = []
            await until_asked(runs, run.id, late)
            assert late[-1] == ASKED, "whoever comes later sees what is open"
            elicitations.answer("elicit_1", Elicited("accept", {"size": 44}))
            events = await early
            assert events.index(ASKED) < events.index(ElicitationClosed("elicit_1"))
            assert end_of(events).text == "ok"
            again = await gather(runs.follow(run.id))
            kinds = {type(event) for event in again}
            assert not kinds & {ElicitationAsked, ElicitationClosed}, "and nothing of what is over"
            (result,) = [it for it in (await runs.get(run.id)).messages if it.role == "tool"]
            assert result.content == "accept {'size': 44}"

    within(body)


def test_a_run_that_nobody_answers_for_is_not_asked_on_behalf_of() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        shop = make_shop(elicitations)
        model = ScriptedModel(calls(("shop", "{}")), says("ok"))
        async with opened(model, shop, attend=elicitations.attending) as runs:
            run = await runs.start(TASK, CALLER)
            events = await gather(runs.follow(run.id))
            assert not [it for it in events if isinstance(it, ElicitationAsked)]
            (result,) = [it for it in (await runs.get(run.id)).messages if it.role == "tool"]
            assert result.content == "decline {}"

    within(body)


def test_whoever_resumes_a_run_may_answer_for_it() -> None:
    async def body() -> None:
        elicitations, held = Elicitations(), Held()
        model = ScriptedModel(calls(("t", "{}")), calls(("shop", "{}")), says("ok"))
        shop = make_shop(elicitations)
        async with opened(model, held.tool, shop, attend=elicitations.attending) as runs:
            task = msgspec.structs.replace(TASK, background=True)
            run = await runs.start(task, CALLER)
            await held.begun.wait()
            await runs.close()
            await until_state(runs, run.id, "interrupted")
            await runs.resume(run.id, elicitations=True)
            seen: list[Told] = []
            await until_asked(runs, run.id, seen)
            elicitations.answer("elicit_1", Elicited("decline"))
            assert end_of(await gather(runs.follow(run.id))).text == "ok"

    within(body)


def test_a_list_says_how_many_calls_wait_and_for_how_long_they_may() -> None:
    async def body() -> None:
        add = make_add(policy="ask")
        async with opened(ScriptedModel(calls(ADD), says("5")), add) as runs:
            request = msgspec.structs.replace(SUM, approvals=True, background=True)
            run = await runs.start(request, CALLER)
            async for event in runs.follow(run.id):
                if isinstance(event, ApprovalNeeded):
                    # It is told just before it waits.
                    while not (await runs.get(run.id)).questions:
                        await asyncio.sleep(0)
                    assert [it.questions for it in await runs.list()] == [1]
                    assert (await runs.get(run.id)).summary.questions == 1
                    assert runs.find_patience(run.id) == ANSWER_S
                    await runs.reply(run.id, event.question.id, "once")
            assert [it.questions for it in await runs.list()] == [0]
            assert runs.find_patience(run.id) is None
            assert runs.find_patience(None) is None

    within(body)
