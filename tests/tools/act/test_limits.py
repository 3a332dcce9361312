"""What ends a run though it is not done, and what its last round is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from lmrun.chat.events import (
    ChatEnd,
    MessageDelta,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.chat.messages import Tool as ChatTool
from lmrun.chat.request import Request, ToolChoice
from lmrun.errors import BudgetExceeded, InvalidParameter, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.events import (
    CallFailed,
    RoundStart,
)
from lmrun.tools.act.limits import Limits
from lmrun.tools.act.steps import Answered, Step
from lmrun.tools.policy.gate import Question, Reply
from tests.tools.act.stand_ins import (
    USAGE,
    ScriptedModel,
    StandInGate,
    calls,
    end_of,
    make_add,
    make_tool,
    run,
    says,
)

ADD = ("add", '{"a": 2, "b": 3}')


def of(kind: type[Any], events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_the_last_permitted_round_is_offered_no_tools() -> None:
    def answer(request: Request) -> list[Any]:
        return calls(ADD) if request.tools else says("That is all I know.")

    model = ScriptedModel(answer)

    events = run(model, make_add(), limits=Limits(max_rounds=3, identical_calls=9))

    assert [len(asked.tools) for asked in model.asked] == [1, 1, 0]
    assert of(RoundStart, events)[-1] == RoundStart(2, True)
    assert end_of(events).text == "That is all I know."


def test_a_model_that_calls_whatever_it_is_offered_is_stopped_after_25_rounds() -> None:
    add = make_add()
    model = ScriptedModel(lambda request: calls(("add", f'{{"a": 1, "b": {len(model.asked)}}}')))

    with pytest.raises(BudgetExceeded) as stopped:
        run(model, add)

    assert stopped.value.code == "agent_budget_exceeded"
    assert stopped.value.budget == "max_rounds"
    assert len(model.asked) == 25
    assert len(add.made) == 24


def test_in_the_last_round_what_is_no_call_is_text() -> None:
    model = ScriptedModel(
        [ToolCallStart(0, "c", "add"), ToolCallFailed(0, "<raw>"), ChatEnd("eosFound", USAGE)]
    )
    events = run(model, make_add(), limits=Limits(max_rounds=1))
    assert of(CallFailed, events)[0].error == "not_a_call"
    assert MessageDelta("<raw>") in events
    assert end_of(events).text == "<raw>"


def test_invalid_calls_in_a_row_end_the_run_and_a_valid_one_between_counts_anew() -> None:
    bad, good = ("nothing", "{}"), [("add", f'{{"a": 1, "b": {n}}}') for n in range(2)]
    limits = Limits(invalid_calls=2, identical_calls=99)
    fine = ScriptedModel(calls(bad, bad, good[0], bad), calls(bad), calls(good[1]), says("ok"))
    assert end_of(run(fine, make_add(), limits=limits)).text == "ok"

    add = make_add()
    stubborn = ScriptedModel(calls(bad), calls(bad), calls(bad, good[0]))
    with pytest.raises(BudgetExceeded) as stopped:
        run(stubborn, add, limits=limits)
    assert stopped.value.budget == "invalid_calls"
    assert (len(stubborn.asked), add.made) == (3, [])


def test_the_same_call_again_and_again_ends_the_run() -> None:
    add = make_add()
    model = ScriptedModel(calls(ADD), calls(("add", '{"b":3,"a":2}')), calls(ADD), calls(ADD))
    with pytest.raises(BudgetExceeded) as stopped:
        run(model, add)
    assert stopped.value.budget == "identical_calls"
    assert len(add.made) == 3


def test_more_calls_than_the_budget_has_are_not_begun() -> None:
    add = make_add()
    three = [("add", f'{{"a": {n}, "b": 0}}') for n in range(3)]
    with pytest.raises(BudgetExceeded) as stopped:
        run(ScriptedModel(calls(*three)), add, limits=Limits(calls=2))
    assert stopped.value.budget == "calls"
    assert add.made == []
    events = run(ScriptedModel(calls(*three), says("ok")), add, limits=Limits(calls=3))
    assert end_of(events).calls == 3


def test_tokens_end_the_run_between_rounds() -> None:
    model = ScriptedModel(lambda _: calls(("add", f'{{"a": 1, "b": {len(model.asked)}}}')))
    with pytest.raises(BudgetExceeded) as stopped:
        run(model, make_add(), limits=Limits(tokens=12))
    assert stopped.value.budget == "tokens"
    assert len(model.asked) == 3  # of five tokens each


def test_a_chosen_length_of_answers_stays_within_the_token_budget() -> None:
    model = ScriptedModel(calls(ADD), says("cut", reason="maxPredictedTokensReached"))
    chosen = PredictionConfig(max_tokens=8)
    end = end_of(run(model, make_add(), limits=Limits(tokens=12), prediction=chosen))
    assert [it.max_tokens for it in model.predictions] == [8, 7]
    assert end.stop_reason == "maxPredictedTokensReached"

    model = ScriptedModel(calls(ADD), says("cut", reason="maxPredictedTokensReached"))
    with pytest.raises(BudgetExceeded) as stopped:
        run(model, make_add(), limits=Limits(tokens=10), prediction=PredictionConfig(max_tokens=-1))
    assert [it.max_tokens for it in model.predictions] == [10, 5]
    assert stopped.value.budget == "tokens"


def test_a_model_s_own_length_of_answers_is_left_alone() -> None:
    model = ScriptedModel(says("ok"))
    run(model, limits=Limits(tokens=12))
    assert model.predictions[0].model_fields_set == set()


async def wait_for_ever(arguments: Mapping[str, Any]) -> str:
    await asyncio.Event().wait()
    return "never"


def test_time_ends_a_tool_and_the_run() -> None:
    gate = StandInGate()
    tool = make_tool("t", wait_for_ever)
    with pytest.raises(BudgetExceeded) as stopped:
        run(ScriptedModel(calls(("t", "{}"))), tool, gate=gate, limits=Limits(time_s=0.05))
    assert stopped.value.budget == "time"
    assert tool.open == 0
    assert gate.noted == [("t", True, None)]


def test_an_answer_cut_off_inside_a_call_runs_nothing() -> None:
    add = make_add()
    cut = calls(ADD, ("add", '{"a": 1'), reason="maxPredictedTokensReached")
    model = ScriptedModel(cut, says("never asked"))

    events = run(model, add)

    assert add.made == []
    assert [it.error for it in of(CallFailed, events)] == ["not_a_call", "not_a_call"]
    assert end_of(events).stop_reason == "maxPredictedTokensReached"
    assert len(model.asked) == 1


def test_what_a_run_cannot_honour_is_refused() -> None:
    own = Request((), tools=(ChatTool("x"),))
    with pytest.raises(UnsupportedParameter):
        run(ScriptedModel(says("")), request=own)
    forced = Request((), tool_choice=ToolChoice("required"))
    with pytest.raises(InvalidParameter):
        run(ScriptedModel(says("")), make_add(), request=forced, limits=Limits(max_rounds=1))


class KeptSteps:
    """A journal in memory."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    async def write(self, step: Step) -> None:
        self.steps.append(step)


@pytest.mark.parametrize("seconds", [0.0, 0.6])
def test_the_time_in_which_somebody_is_asked_is_not_the_runs(seconds: float) -> None:
    async def ask(question: Question) -> Reply:
        await asyncio.sleep(0.6 - seconds)
        return "once"

    async def work(arguments: Mapping[str, Any]) -> str:
        await asyncio.sleep(seconds)
        return "done"

    slow = make_tool("slow", work, policy="ask")
    model = ScriptedModel(calls(("slow", "{}")), says("ok"))
    limits = Limits(time_s=0.3)

    if seconds:
        with pytest.raises(BudgetExceeded) as stopped:
            run(model, slow, limits=limits, ask=ask)
        assert stopped.value.budget == "time"
    else:
        journal = KeptSteps()
        assert end_of(run(model, slow, limits=limits, ask=ask, journal=journal)).text == "ok"
        (_, last) = [step for step in journal.steps if isinstance(step, Answered)]
        assert last.elapsed_s < 0.3, "nor is it after a restart"
