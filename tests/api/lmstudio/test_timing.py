"""Times come from when events arrive, and stay finite."""

from __future__ import annotations

import pytest

from lmrun.api.lmstudio.timing import Timing
from lmrun.chat.events import ChatEnd, Event, MessageDelta, PromptProgress, Usage

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


def test_an_answer_without_text_ends_with_its_first_event() -> None:
    timing = timed((END, 12.0))
    assert (timing.time_to_first_token_s, timing.generation_time_s) == (2.0, 0.0)


def test_nothing_has_no_pace() -> None:
    timing = timed()
    assert (timing.time_to_first_token_s, timing.tokens_per_second(0)) == (0.0, 0.0)
