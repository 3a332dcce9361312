"""Events become blocks, and a stream adds up to the whole message, for Anthropic's own client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anthropic
import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from lmrun.api.anthropic.answers.bodies import Message
from lmrun.api.anthropic.answers.formats import MessageStream, Style, WholeMessage
from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    StopReason,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
    Usage,
)

END = ChatEnd("eosFound", Usage(9, 5, 4))
READ_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
CALL = (
    ToolCallStart(0, "call00001", "add"),
    ToolCallArguments(0, '{"a": 1'),
    ToolCallArguments(0, ', "b": 2.50}'),
)


def stream(events: Sequence[Any], style: Style | None = None) -> list[tuple[str, Any]]:
    """The stream's events by name."""
    writer = MessageStream("msg_1", "m", style or Style())
    written = b"".join(map(writer.take, events)).decode()
    blocks = [block.split("\n") for block in written.split("\n\n")[:-1]]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in blocks
    ]


def whole(events: Sequence[Any], style: Style | None = None) -> Any:
    """The message's JSON."""
    message = WholeMessage("msg_1", "m", style or Style())
    for event in events:
        message.take(event)
    finished = message.finish()
    assert isinstance(finished, Message)
    return json.loads(msgspec.json.encode(finished))


def accumulate(events: Sequence[tuple[str, Any]]) -> Any:
    """What Anthropic's client makes of a stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for name, data in events:
        assert data["type"] == name
        if name != "ping":
            event = READ_EVENT.validate_python(data)
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return snapshot.to_dict()


def test_a_stream_has_anthropics_events_in_their_order() -> None:
    events = [
        PromptProgress(5, 9),
        PromptProgress(9, 9),
        ReasoningDelta("Hm"),
        MessageDelta("Let me "),
        MessageDelta("add."),
        *CALL,
        ChatEnd("toolCalls", Usage(9, 5, 4)),
    ]
    usage = {"cache_creation_input_tokens": 0}
    assert stream(events) == [
        (
            "message_start",
            {
                "type": "message_start",
                "message": {
                    "type": "message",
                    "id": "msg_1",
                    "model": "m",
                    "role": "assistant",
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": {
                        **usage,
                        "input_tokens": 9,
                        "cache_read_input_tokens": 0,
                        "output_tokens": 0,
                        "service_tier": "standard",
                    },
                },
            },
        ),
        ("ping", {"type": "ping"}),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Hm"},
            {"type": "signature_delta", "signature": "unsigned"},
        ),
        *block(
            1,
            {"type": "text", "text": ""},
            {"type": "text_delta", "text": "Let me "},
            {"type": "text_delta", "text": "add."},
        ),
        *block(
            2,
            {"type": "tool_use", "id": "call00001", "name": "add", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"a": 1'},
            {"type": "input_json_delta", "partial_json": ', "b": 2.50}'},
        ),
        (
            "message_delta",
            {
                "type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                "usage": {
                    **usage,
                    "input_tokens": 5,
                    "cache_read_input_tokens": 4,
                    "output_tokens": 5,
                },
            },
        ),
        ("message_stop", {"type": "message_stop"}),
    ]


def block(index: int, start: Any, *deltas: Any) -> list[tuple[str, Any]]:
    """The events of one block."""

    def event(kind: str, **fields: Any) -> tuple[str, Any]:
        name = f"content_block_{kind}"
        return name, {"type": name, "index": index, **fields}

    middle = [event("delta", delta=delta) for delta in deltas]
    return [event("start", content_block=start), *middle, event("stop")]


def test_a_whole_message_has_the_same_blocks() -> None:
    message = whole([ReasoningDelta("Hm"), MessageDelta("a"), *CALL, MessageDelta("b"), END])
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "unsigned"},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "call00001", "name": "add", "input": {"a": 1, "b": 2.5}},
        {"type": "text", "text": "b"},
    ]
    assert message["usage"] == {
        "input_tokens": 5,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "output_tokens": 5,
        "service_tier": "standard",
    }


@pytest.mark.parametrize(
    ("reason", "stop_string", "expected"),
    [
        ("eosFound", None, ("end_turn", None)),
        ("stopStringFound", "END", ("stop_sequence", "END")),
        ("stopStringFound", "of the preset", ("end_turn", None)),
        ("maxPredictedTokensReached", None, ("max_tokens", None)),
        ("contextLengthReached", None, ("model_context_window_exceeded", None)),
        ("toolCalls", None, ("tool_use", None)),
    ],
)
def test_it_says_why_it_ended(
    reason: StopReason, stop_string: str | None, expected: tuple[str, str | None]
) -> None:
    end = ChatEnd(reason, Usage(1, 1), stop_string)
    style = Style(stop_sequences=("STOP", "END"))
    message = whole([MessageDelta("x"), end], style)
    assert (message["stop_reason"], message["stop_sequence"]) == expected
    (_, delta), _ = stream([MessageDelta("x"), end], style)[-2:]
    assert (delta["delta"]["stop_reason"], delta["delta"]["stop_sequence"]) == expected


def test_hidden_thoughts_leave_an_empty_block() -> None:
    style = Style(hides_thoughts=True)
    events = [ReasoningDelta("secret"), MessageDelta("a"), END]
    assert whole(events, style)["content"][0] == {
        "type": "thinking",
        "thinking": "",
        "signature": "unsigned",
    }
    assert "secret" not in str(stream(events, style))


def test_a_held_call_is_streamed_at_once() -> None:
    events = [*CALL, MessageDelta("a"), END]
    deltas = [
        data["delta"]["partial_json"]
        for name, data in stream(events, Style(held=frozenset({"add"})))
        if name == "content_block_delta" and "partial_json" in data["delta"]
    ]
    assert deltas == ['{"a": 1, "b": 2.50}']


@pytest.mark.parametrize("held", [frozenset(), frozenset({"add"})])
def test_what_turns_out_to_be_no_call_is_text(held: frozenset[str]) -> None:
    events = [*CALL[:2], ToolCallFailed(0, "<call>{oops"), MessageDelta("!"), END]
    text = [{"type": "text", "text": "<call>{oops!"}]
    assert whole(events)["content"] == text
    streamed = accumulate(stream(events, Style(held=held)))["content"]
    assert streamed[-1:] == text
    # Nobody can take back what was streamed already.
    assert len(streamed) == (1 if held else 2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("{", {}),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ('{"a": "b", "c": "unfin', {"a": "b"}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        ("[1]", {}),
        ("no json", {}),
        ("[" * 100_000, {}),
        ('{"a":' * 100_000, {}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_call_that_was_cut_off_has_the_input_that_is_certain(
    arguments: str, expected: dict[str, Any]
) -> None:
    events = [ToolCallStart(0, "c", "add"), ToolCallArguments(0, arguments), END]
    assert whole(events)["content"][0]["input"] == expected


TEXTS = st.text(max_size=5)
DELTAS: st.SearchStrategy[list[Event]] = st.one_of(
    TEXTS.map(lambda text: [MessageDelta(text)]),
    TEXTS.map(lambda text: [ReasoningDelta(text)]),
    st.dictionaries(st.text(max_size=3), st.integers() | TEXTS, max_size=3).map(
        lambda value: [
            ToolCallStart(0, "c", "add"),
            *(ToolCallArguments(0, piece) for piece in json.dumps(value)),
        ]
    ),
)


@given(
    st.lists(DELTAS, max_size=8).map(lambda groups: [it for group in groups for it in group]),
    st.booleans(),
    st.sampled_from([frozenset(), frozenset({"add"})]),
)
def test_a_stream_adds_up_to_the_whole(
    events: list[Event], hides_thoughts: bool, held: frozenset[str]
) -> None:
    style = Style(held=held, hides_thoughts=hides_thoughts)
    streamed = accumulate(stream([PromptProgress(1, 9), *events, END], style))
    message = whole([PromptProgress(1, 9), *events, END], style)
    parsed = anthropic.types.Message.model_validate(message).to_dict()
    # The client's own addition to what it has read.
    assert streamed == {**parsed, "stop_details": None}
