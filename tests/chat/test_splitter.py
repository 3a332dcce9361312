"""From the pieces of a parser to the events of an answer."""

from __future__ import annotations

import itertools

import pytest

from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    ReasoningDelta,
    StopReason,
    TokenLogprob,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
    Usage,
)
from lmrun.chat.formats.objects.hermes import Hermes
from lmrun.chat.formats.objects.mistral import Mistral
from lmrun.chat.reasoning import FORMATS, ReasoningParser
from lmrun.chat.splitter import Splitter

USAGE = Usage(3, 5)
CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'


def make_splitter(*, is_open: bool = False) -> Splitter:
    parser = ReasoningParser(FORMATS[0], Hermes().make_parser(()), is_open=is_open)
    numbers = itertools.count()
    return Splitter(parser, lambda: f"call{next(numbers)}")


def split(*chunks: str, reason: StopReason = "eosFound") -> list[Event]:
    splitter = make_splitter()
    events = [event for chunk in chunks for event in splitter.push(MessageDelta(chunk))]
    return events + splitter.finish(ChatEnd(reason, USAGE))


def test_a_call_has_its_name_and_id_first_and_its_arguments_in_pieces() -> None:
    chunks = ['<tool_call>{"name": "f", "argu', 'ments": {"a"', ": 1}", "}</tool_call>"]
    assert split(*chunks) == [
        ToolCallStart(0, "call0", "f"),
        ToolCallArguments(0, '{"a"'),
        ToolCallArguments(0, ": 1}"),
        ChatEnd("toolCalls", USAGE),
    ]


def test_calls_are_counted_and_told_apart() -> None:
    starts = [each for each in split(CALL + CALL) if isinstance(each, ToolCallStart)]
    assert starts == [ToolCallStart(0, "call0", "f"), ToolCallStart(1, "call1", "f")]


def test_an_id_that_the_model_gave_is_kept() -> None:
    splitter = Splitter(Mistral(is_named=True).make_parser(()), lambda: "other")
    events = splitter.push(MessageDelta("[TOOL_CALLS]f[CALL_ID]abcde1234[ARGS]{}"))
    assert events[0] == ToolCallStart(0, "abcde1234", "f")


def test_a_call_that_breaks_is_text_after_all() -> None:
    broken = '<tool_call>{"name": "f", "arguments": {a}}</tool_call>'
    events = split(f"Well. {broken}")
    assert events[:2] == [MessageDelta("Well."), ToolCallStart(0, "call0", "f")]
    assert ToolCallFailed(0, ' <tool_call>{"name": "f", "arguments": {') in events
    assert events[-1] == ChatEnd("eosFound", USAGE)


def test_the_call_after_a_broken_one_has_the_next_number() -> None:
    broken = '<tool_call>{"name": "f", "arguments": {a}}</tool_call>'
    starts = [each for each in split(broken + CALL) if isinstance(each, ToolCallStart)]
    assert [each.index for each in starts] == [0, 1]


@pytest.mark.parametrize("reason", ["maxPredictedTokensReached", "contextLengthReached"])
@pytest.mark.parametrize("text", [CALL, CALL[:30], CALL + CALL[:30]])
def test_an_answer_that_is_cut_off_keeps_the_reason(text: str, reason: StopReason) -> None:
    assert split(text, reason=reason)[-1] == ChatEnd(reason, USAGE)


@pytest.mark.parametrize("reason", ["eosFound", "stopStringFound"])
def test_a_call_that_the_model_itself_leaves_incomplete_is_text_after_all(
    reason: StopReason,
) -> None:
    assert split(CALL[:42], reason=reason) == [
        ToolCallStart(0, "call0", "f"),
        ToolCallArguments(0, '{"a"'),
        ToolCallFailed(0, CALL[:42]),
        ChatEnd(reason, USAGE),
    ]


def test_a_complete_call_is_asked_for_though_the_next_one_is_left_incomplete() -> None:
    events = split(CALL + CALL[:42])
    assert events[-2:] == [ToolCallFailed(1, CALL[:42]), ChatEnd("toolCalls", USAGE)]


def test_a_stop_string_behind_a_call_ends_it_as_the_model_would() -> None:
    assert split(CALL, reason="stopStringFound")[-1] == ChatEnd("toolCalls", USAGE)


def test_log_probabilities_go_with_the_first_text_or_with_an_empty_one() -> None:
    token, other, third = (TokenLogprob(piece, -1.0) for piece in (b"a", b"b", b"c"))
    splitter = make_splitter(is_open=True)
    assert splitter.push(MessageDelta("Hm", (token,))) == [ReasoningDelta("Hm", (token,))]
    assert splitter.push(MessageDelta("</think>So", (other,))) == [MessageDelta("So", (other,))]
    assert splitter.push(MessageDelta("<tool", (third,))) == [MessageDelta("", (third,))]
    assert splitter.push(MessageDelta("_call>")) == []
