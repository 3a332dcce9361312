"""The events of a stream: in the reference's order, with its fields, saying what a whole answer
says."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from lmrun.chat.events import (
    Event,
    MessageDelta,
    ReasoningDelta,
    StopReason,
    TokenLogprob,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.errors import EngineError, QueueFull
from tests.api.responses.conftest import Live, Told, check, check_event
from tests.support.stand_in_pool import Phase

ADD = {
    "type": "function",
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": True,
}
CALL: tuple[Event, ...] = (
    ToolCallStart(0, "c1", "add"),
    ToolCallArguments(0, '{"a":'),
    ToolCallArguments(0, "1}"),
)
EVERYTHING: tuple[Event, ...] = (
    ReasoningDelta("h"),
    ReasoningDelta("m"),
    MessageDelta("Let me "),
    MessageDelta("see."),
    *CALL,
    ToolCallStart(1, "c2", "add"),
    ToolCallArguments(1, "{}"),
)
BEGIN = ["response.created", "response.in_progress"]
TEXT = [
    "response.output_item.added",
    "response.content_part.added",
    *["response.output_text.delta"] * 2,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
REASONING = [kind.replace("output_text", "reasoning_text") for kind in TEXT]


def call_events(pieces: int) -> list[str]:
    return [
        "response.output_item.added",
        *["response.function_call_arguments.delta"] * pieces,
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events]


def without_ids(answer: Any) -> Any:
    """What two answers to one request have in common."""
    shown = answer.to_dict()
    for item in shown["output"]:
        del item["id"]
    return {k: v for k, v in shown.items() if k not in ("id", "created_at", "completed_at")}


def test_text_comes_in_the_order_of_the_reference(told: Told) -> None:
    told.say(MessageDelta("Hel"), MessageDelta("lo"))
    events = told.stream("hi")
    assert kinds(events) == [*BEGIN, *TEXT, "response.completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    added, part = events[2], events[3]
    assert (added.output_index, added.item.status, added.item.content) == (0, "in_progress", [])
    assert (part.item_id, part.content_index, part.part.text) == (added.item.id, 0, "")
    assert [event.delta for event in events[4:6]] == ["Hel", "lo"]
    assert (events[6].text, events[7].part.text) == ("Hello", "Hello")
    assert (events[8].item.id, events[8].item.status) == (added.item.id, "completed")
    first, last = events[0].response, events[-1].response
    assert (first.status, first.output, first.usage) == ("in_progress", [], None)
    assert (last.id, last.status, last.output_text) == (first.id, "completed", "Hello")


def test_reasoning_has_no_more_tokens_than_were_generated(told: Told) -> None:
    """Its text is tokenised again, and a model need not write the tokens that a tokeniser would."""
    told.say(ReasoningDelta("Let me see."), MessageDelta("Yes."))
    usage = told.stream("hi")[-1].response.usage
    # The stand-in's tokens are bytes.
    assert usage.output_tokens < len("Let me see.")
    assert usage.output_tokens_details.reasoning_tokens == usage.output_tokens


def test_reasoning_text_and_calls_follow_each_other(told: Told) -> None:
    told.say(*EVERYTHING, reason="toolCalls")
    events = told.stream("hi", tools=[ADD])
    expected = [*BEGIN, *REASONING, *TEXT, *call_events(2), *call_events(1), "response.completed"]
    assert kinds(events) == expected
    assert [event.sequence_number for event in events] == list(range(len(events)))
    indices = [event.output_index for event in events if hasattr(event, "output_index")]
    assert indices == sorted(indices)
    assert set(indices) == {0, 1, 2, 3}
    begin = expected.index("response.function_call_arguments.delta") - 1
    added = events[begin]
    assert (added.item.name, added.item.call_id, added.item.arguments) == ("add", "c1", "")
    done = events[begin + 3]
    assert (done.arguments, done.name, done.item_id) == ('{"a":1}', "add", added.item.id)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (EVERYTHING, "toolCalls"),
        (EVERYTHING[:2], "maxPredictedTokensReached"),
        (EVERYTHING[:5], "contextLengthReached"),
        ((), "eosFound"),
        ((MessageDelta("a"), ToolCallStart(0, "c", "add"), ToolCallFailed(0, "<x")), "eosFound"),
        ((ToolCallStart(0, "c", "add"), ToolCallFailed(0, "<x"), *CALL), "toolCalls"),
        ((*CALL, MessageDelta("done"), ReasoningDelta("hm"), MessageDelta("!")), "toolCalls"),
    ],
)
def test_a_stream_says_the_same_as_the_whole_answer(
    told: Told, events: tuple[Event, ...], reason: StopReason
) -> None:
    told.say(*events, reason=reason)
    whole = told.ask("hi", tools=[ADD])
    last = told.stream("hi", tools=[ADD])[-1].response
    assert without_ids(last) == without_ids(whole)


def test_calls_can_be_made_and_answered(told: Told) -> None:
    told.say(MessageDelta("Let me see."), *CALL, reason="toolCalls")
    first = told.ask("1?", tools=[ADD], tool_choice={"type": "function", "name": "add"})
    call = first.output[1]
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == ("add", {"a": 1}, "completed")
    told.say(MessageDelta("It is 1."))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "1"}
    second = told.ask([result], previous_response_id=first.id, tools=[ADD])
    assert second.output_text == "It is 1."
    prompt: Any = told.pool.prompts[-1]
    assert [message.role for message in prompt.messages] == ["user", "assistant", "tool"]
    assert prompt.messages[1].content == "Let me see."
    assert prompt.messages[1].tool_calls[0].id == "c1"
    assert (prompt.messages[2].tool_call_id, prompt.messages[2].name) == ("c1", "add")


def test_a_call_that_turns_out_to_be_none_is_text(told: Told) -> None:
    told.say(*CALL, ToolCallFailed(0, "<tool_call>oh no"), MessageDelta("!"))
    events = told.stream("hi", tools=[ADD])
    assert kinds(events) == [*BEGIN, *call_events(2), *TEXT, "response.completed"]
    given_up = events[6].item
    assert (given_up.type, given_up.status) == ("function_call", "incomplete")
    (item,) = events[-1].response.output
    assert (item.type, item.content[0].text) == ("message", "<tool_call>oh no!")


def test_a_call_that_was_cut_off_is_incomplete(told: Told) -> None:
    told.say(*CALL[:2], reason="maxPredictedTokensReached")
    last = told.stream("hi", tools=[ADD])[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    (item,) = last.response.output
    assert (item.type, item.arguments, item.status) == ("function_call", '{"a":', "incomplete")


def test_log_probabilities_come_with_the_text_only(told: Told) -> None:
    top = (TokenLogprob(b"Hi", -0.5), TokenLogprob(b"\xf0\x9f", float("-inf")))
    token = TokenLogprob(b"Hi", -0.5, 0, top)
    told.say(
        ReasoningDelta("hm", (token,)),
        MessageDelta("Hi", (token,)),
        *CALL[:1],
        MessageDelta("", (token,)),
        *CALL[1:],
    )
    given: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    _, message, call = told.ask("hi", **given).output
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert message.content[0].logprobs is not None
    (scored,) = message.content[0].logprobs
    assert (scored.token, scored.bytes, scored.logprob) == ("Hi", [72, 105], -0.5)
    assert [(each.token, each.logprob) for each in scored.top_logprobs] == [
        ("Hi", -0.5),
        ("\ufffd", -9999.0),
    ]
    assert call.type == "function_call"
    assert call.arguments == '{"a":1}'
    assert told.pool.predictions[-1].logprobs == 2
    events = told.stream("hi", **given)
    (delta,) = [event for event in events if event.type == "response.output_text.delta"]
    assert delta.logprobs[0].token == "Hi"


def test_the_packages_own_accumulator_understands_the_stream(told: Told) -> None:
    told.say(*EVERYTHING, ToolCallStart(2, "c3", "add"), ToolCallFailed(2, "?"))
    with told.client.responses.stream(model="assistant", input="hi", tools=[ADD]) as stream:  # type: ignore[list-item]
        for event in stream:
            assert event.type
        final = stream.get_final_response()
    assert [item.type for item in final.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "message",
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("phase", ["queue", "prefill"])
def test_a_failure_before_the_first_event_is_a_status(
    told: Told, phase: Phase, stream: bool
) -> None:
    told.pool.fail_at, told.pool.failure = phase, QueueFull("Too many wait.")
    with pytest.raises(openai.RateLimitError):
        told.client.responses.create(model="assistant", input="hi", stream=stream)
    told.pool.failure = EngineError("It cannot.")
    with pytest.raises(openai.InternalServerError, match=r"It cannot\."):
        told.client.responses.create(model="assistant", input="hi", stream=stream)


def test_an_unexpected_failure_is_an_error_event_with_a_number(told: Told) -> None:
    told.pool.fail_at, told.pool.failure = "mid-stream", RuntimeError("a bug")
    events = told.stream("hi")
    assert events[-1].type == "error"
    assert events[-1].code == "internal_error"
    assert "a bug" not in events[-1].message
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_every_event_has_its_type_as_its_name(told: Told) -> None:
    body = {"model": "assistant", "input": "hi", "stream": True}
    reply = told.port.ask("POST", "/v1/responses", body)
    assert reply.header("content-type") == "text/event-stream; charset=utf-8"
    for event in reply.body.decode().strip().split("\n\n"):
        name, data = event.split("\n")
        assert name == f"event: {json.loads(data.removeprefix('data: '))['type']}"


def test_what_a_stream_said_is_stored_before_its_end_is_told(live: Live) -> None:
    stream = live.client.responses.create(model="assistant", input="I am Ada", stream=True)
    for event in stream:
        check_event(event)
        if event.type == "response.completed":
            answer = live.ask("who?", previous_response_id=event.response.id)
            assert answer.output_text == "Ada"
            kept = check(live.client.responses.retrieve(event.response.id))
            assert kept.to_dict() == event.response.to_dict()
            return
    pytest.fail("it never completed")


def test_a_cut_off_stream_says_so(live: Live) -> None:
    *_, done, last = live.stream("hi", max_output_tokens=2)
    assert (done.type, done.item.status) == ("response.output_item.done", "incomplete")
    assert (last.type, last.response.status) == ("response.incomplete", "incomplete")
    assert last.response.usage.output_tokens == 2
