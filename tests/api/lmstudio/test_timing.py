"""Times come from when events arrive, and stay finite."""

from __future__ import annotations

import pytest

from lmrun.api.lmstudio.timing import RoundsTiming, Timing
from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    PromptProgress,
    ToolCallArguments,
    ToolCallStart,
    Usage,
)
from lmrun.tools.act.events import ActEnd, ActEvent, CallSucceeded, RoundEnd, RoundStart

END = ChatEnd("eosFound", Usage(3, 5))


def timed(*moments: tuple[Event, float]) -> Timing:
    timing = Timing(10.0)
    for event, now_s in moments:
        timing.note(event, now_s)
    return timing


def test_the_prompt_is_not_the_first_token() -> None:
    timing = timed((PromptProgress(3, 3), 10.5), (MessageDelta("a"), 11.0), (END, 13.0))
    assert timing.time_to_first_token_s == 1.0
    assert timing.generation_time_s == 2.0
    assert timing.tokens_per_second(5) == 2.0


@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_an_answer_that_comes_at_once_has_a_finite_pace(tokens: int) -> None:
    timing = timed((MessageDelta("a"), 11.0), (END, 11.0))
    assert timing.tokens_per_second(tokens) == tokens


def test_tokens_that_come_together_have_the_pace_of_the_whole() -> None:
    timing = timed((MessageDelta("a"), 11.0), (END, 11.00002))
    assert timing.tokens_per_second(5) == pytest.approx(5.0, rel=1e-3)
    timing_of_rounds = RoundsTiming()
    timing_of_rounds.start(10.0)
    for start_s in (10.0, 20.0):
        timing_of_rounds.note(RoundStart(int(start_s > 10), is_last=False), start_s)
        timing_of_rounds.note(MessageDelta("a"), start_s + 1)
        timing_of_rounds.note(END, start_s + 1.00002)
    assert timing_of_rounds.tokens_per_second(10) == pytest.approx(5.0, rel=1e-3)


def test_an_answer_without_text_ends_with_its_first_event() -> None:
    timing = timed((END, 12.0))
    assert (timing.time_to_first_token_s, timing.generation_time_s) == (2.0, 0.0)


def test_nothing_has_no_pace() -> None:
    timing = timed()
    assert (timing.time_to_first_token_s, timing.tokens_per_second(0)) == (0.0, 0.0)


def test_what_tools_take_is_no_part_of_the_pace() -> None:
    """Two rounds of three tokens a second, and 20 s of a tool between them."""
    timing = RoundsTiming()
    timing.start(1.0)
    told: tuple[tuple[float, ActEvent], ...] = (
        (1.0, RoundStart(0, is_last=False)),
        (3.0, MessageDelta("a")),
        (4.0, ToolCallStart(0, "c", "t")),
        (5.0, ToolCallArguments(0, "{}")),
        (25.0, CallSucceeded(0, "c", "t", "done", 20.0)),
        (25.0, RoundEnd(0, Usage(1, 4))),
        (25.0, RoundStart(1, is_last=False)),
        (26.0, MessageDelta("b")),
        (28.0, MessageDelta("c")),
        (28.0, ActEnd("bc", "eosFound", 2, 1, Usage(2, 8))),
    )
    for moment, event in told:
        timing.note(event, moment)
    assert timing.time_to_first_token_s == 2.0
    assert timing.tokens_per_second(14) == 3.0
