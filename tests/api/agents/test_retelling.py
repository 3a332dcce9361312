"""A run as its client reads it: the last round's text, or what happened on the way, too."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lmrun.api.agents.retelling import MAX_SHOWN, Retelling
from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    TokenLogprob,
    ToolCallArguments,
    ToolCallStart,
    Usage,
)
from lmrun.tools.act.events import (
    ActEnd,
    ActEvent,
    CallFailed,
    CallProgress,
    CallSucceeded,
    RoundEnd,
    RoundStart,
)

USAGE = Usage(30, 9)
SCORED = (TokenLogprob(b"4", -0.1),)

FIRST: tuple[ActEvent, ...] = (
    RoundStart(0, False),
    PromptProgress(10, 10),
    ReasoningDelta("hm", SCORED),
    MessageDelta("Let me ", SCORED),
    MessageDelta("see."),
    ToolCallStart(0, "c1", "add"),
    ToolCallArguments(0, '{"a": 1,'),
    ToolCallArguments(0, ' "b": 2}'),
    MessageDelta("There."),
    CallProgress(0, "c1", 0.5),
    CallSucceeded(0, "c1", "add", "3", 0.01),
    RoundEnd(0, Usage(10, 4)),
)
LAST: tuple[ActEvent, ...] = (
    RoundStart(1, False),
    PromptProgress(20, 20),
    ReasoningDelta("so"),
    MessageDelta("It is "),
    MessageDelta("3.", SCORED),
    RoundEnd(1, Usage(20, 5)),
    ActEnd("It is 3.", "eosFound", 2, 1, USAGE),
)


def tell(events: Sequence[ActEvent], *, with_steps: bool = False) -> list[list[Event]]:
    """What is heard of each event."""
    retelling = Retelling(with_steps)
    return [list(retelling.take(event)) for event in events]


def heard(events: Sequence[ActEvent], *, with_steps: bool = False) -> list[Event]:
    return [each for told in tell(events, with_steps=with_steps) for each in told]


def test_only_the_last_round_is_heard() -> None:
    assert heard((*FIRST, *LAST)) == [
        PromptProgress(10, 10),
        PromptProgress(20, 20),
        ReasoningDelta("so"),
        MessageDelta("It is "),
        MessageDelta("3.", SCORED),
        ChatEnd("eosFound", USAGE),
    ]


def test_steps_become_reasoning() -> None:
    assert heard((*FIRST, *LAST), with_steps=True) == [
        PromptProgress(10, 10),
        ReasoningDelta("hm", SCORED),
        ReasoningDelta("Let me ", SCORED),
        ReasoningDelta("see."),
        ReasoningDelta("There."),
        ReasoningDelta('\nadd({"a": 1, "b": 2}) → 3\n'),
        PromptProgress(20, 20),
        ReasoningDelta("so"),
        MessageDelta("It is "),
        MessageDelta("3.", SCORED),
        ChatEnd("eosFound", USAGE),
    ]


def test_reasoning_of_steps_is_heard_as_it_is_thought() -> None:
    told = tell((*FIRST, *LAST), with_steps=True)
    assert told[2] == [ReasoningDelta("hm", SCORED)]
    assert told[10] == [ReasoningDelta('\nadd({"a": 1, "b": 2}) → 3\n')]


@pytest.mark.parametrize("with_steps", [False, True])
def test_a_round_that_is_offered_no_tools_is_heard_as_it_is_written(with_steps: bool) -> None:
    told = tell(
        (
            RoundStart(1, True),
            ReasoningDelta("so"),
            MessageDelta("It is "),
            MessageDelta("3."),
            ActEnd("It is 3.", "eosFound", 2, 1, USAGE),
        ),
        with_steps=with_steps,
    )
    assert told == [
        [],
        [ReasoningDelta("so")],
        [MessageDelta("It is ")],
        [MessageDelta("3.")],
        [ChatEnd("eosFound", USAGE)],
    ]


def test_a_run_without_tools_is_heard_as_it_is_written() -> None:
    retelling = Retelling(with_steps=False, has_tools=False)
    told = [list(retelling.take(event)) for event in LAST]
    assert told[2:5] == [
        [ReasoningDelta("so")],
        [MessageDelta("It is ")],
        [MessageDelta("3.", SCORED)],
    ]


def test_what_failed_is_told_with_its_kind_in_one_line() -> None:
    (told,) = tell(
        (CallFailed(0, "c1", "rm", "denied", "denied: nobody\nto ask"),), with_steps=True
    )
    assert told == [ReasoningDelta("\nrm() → denied: denied: nobody to ask\n")]


def test_a_long_result_is_cut() -> None:
    (told,) = tell((CallSucceeded(0, "c1", "read", "x" * 1000, 0.1),), with_steps=True)
    assert told == [ReasoningDelta(f"\nread() → {'x' * MAX_SHOWN}…\n")]


def test_a_run_that_ends_inside_a_call_says_what_it_said_before() -> None:
    """Cut off by `max_tokens`: the call is not run, and the text was part of the answer."""
    events = (
        RoundStart(0, False),
        MessageDelta("Let me see."),
        ToolCallStart(0, "c1", "add"),
        ToolCallArguments(0, '{"a'),
        RoundEnd(0, Usage(10, 4)),
        ActEnd("Let me see.", "maxPredictedTokensReached", 1, 0, USAGE),
    )
    end = ChatEnd("maxPredictedTokensReached", USAGE)
    assert heard(events) == [MessageDelta("Let me see."), end]
