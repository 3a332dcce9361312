"""Tools, calls and results in OpenAI's notation: what becomes of them, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.api.openai.answers.messages import to_delta, to_message
from lmrun.api.openai.convert import to_request
from lmrun.api.openai.requests import ChatRequest
from lmrun.api.tool_choice import MAX_TOOLS
from lmrun.api.validate import validate_request
from lmrun.chat.answer import fold
from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
    Usage,
)
from lmrun.chat.messages import Message, Tool, ToolCall
from lmrun.chat.request import Request, ToolChoice
from lmrun.errors import InvalidParameter, RequestError, UnsupportedParameter
from tests.api.openai.bodies import CHAT, USER

SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}}


def tool(name: str = "get_delivery_date", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def convert(**fields: Any) -> Request:
    return to_request(validate_request(ChatRequest, {**CHAT, **fields}))


def refuse(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        convert(**fields)
    return caught.value


def test_a_tool_keeps_its_name_its_description_and_its_schema() -> None:
    request = convert(tools=[tool(description="When it comes", parameters=SCHEMA, strict="true")])
    assert request.tools == (Tool("get_delivery_date", "When it comes", SCHEMA),)
    assert request.tool_choice == ToolChoice("auto", parallel=True)


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    (given,) = convert(tools=[tool()]).tools
    assert given.parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", ToolChoice("none")),
        ("auto", ToolChoice("auto")),
        (None, ToolChoice("auto")),
        ("required", ToolChoice("required")),
        (named("b"), ToolChoice("required", "b")),
    ],
)
def test_a_choice_is_kept(choice: Any, expected: ToolChoice) -> None:
    request = convert(tools=[tool("a"), tool("b")], tool_choice=choice)
    assert request.tool_choice == expected
    assert [each.name for each in request.tools] == ["a", "b"]


def test_allowed_tools_are_the_only_ones_the_model_hears_of() -> None:
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [named("b")]},
    }
    request = convert(tools=[tool("a"), tool("b")], tool_choice=choice)
    assert request.tool_choice == ToolChoice("required")
    assert [each.name for each in request.tools] == ["b"]


def test_calls_in_parallel_can_be_ruled_out() -> None:
    assert not convert(tools=[tool()], parallel_tool_calls=False).tool_choice.parallel


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"tools": [tool("a"), tool("a")]}, InvalidParameter, "tools"),
        ({"tools": [tool("a b")]}, InvalidParameter, "tools[0].function.name"),
        ({"tools": [{"type": "custom", "custom": {}}]}, UnsupportedParameter, "tools[0]"),
        ({"tools": [{"type": "function"}]}, InvalidParameter, "tools[0].function"),
        ({"tools": [tool(parameters="x")]}, InvalidParameter, "tools[0].function.parameters"),
        (
            {"tools": [tool(parameters={"type": "string"})]},
            InvalidParameter,
            "tools[0].function.parameters",
        ),
        ({"tools": [tool(foo=1)]}, InvalidParameter, "tools[0].function.foo"),
        ({"tools": [tool(f"t{n}") for n in range(MAX_TOOLS + 1)]}, InvalidParameter, "tools"),
        ({"tools": "x"}, InvalidParameter, "tools"),
        ({"tool_choice": "required"}, InvalidParameter, "tool_choice"),
        ({"tool_choice": named("a")}, InvalidParameter, "tool_choice"),
        ({"tools": [tool("a")], "tool_choice": named("b")}, InvalidParameter, "tool_choice"),
        ({"tools": [tool("a")], "tool_choice": "any"}, InvalidParameter, "tool_choice"),
        ({"tools": [tool("a")], "tool_choice": 1}, InvalidParameter, "tool_choice"),
        ({"tool_choice": {}}, InvalidParameter, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, InvalidParameter, "tool_choice.function"),
        ({"tool_choice": {"type": "custom", "custom": {}}}, UnsupportedParameter, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools"}},
            InvalidParameter,
            "tool_choice.allowed_tools",
        ),
        ({"parallel_tool_calls": "yes"}, InvalidParameter, "parallel_tool_calls"),
    ],
)
def test_tools_that_make_no_sense_are_refused_by_name(
    fields: dict[str, Any], kind: type[RequestError], param: str
) -> None:
    error = refuse(**fields)
    assert isinstance(error, kind)
    assert error.param is not None
    assert error.param.startswith(param)


def test_a_conversation_with_calls_and_results_is_kept() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm."},
        {"role": "tool", "content": "2024-03-15", "tool_call_id": "1"},
    ]
    assert convert(messages=messages).messages[1:] == (
        Message("assistant", "", reasoning="Hm.", tool_calls=(ToolCall("1", "f", '{"a":1}'),)),
        Message("tool", "2024-03-15", tool_call_id="1"),
    )


def test_a_message_collected_from_a_stream_can_be_sent_back() -> None:
    call = {
        "index": 0,
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    message = {"role": "assistant", "tool_calls": [call]}
    assert convert(messages=[USER, message]).messages[1].tool_calls == (ToolCall("1", "f", "{}"),)


def test_a_text_file_is_read_as_text_under_its_name() -> None:
    file = {"filename": "a.csv", "file_data": "data:text/csv;base64,YSxi"}
    message = {"role": "user", "content": [{"type": "file", "file": file}]}
    assert convert(messages=[message]).messages[0].content == "File a.csv:\na,b"


END = ChatEnd("toolCalls", Usage(1, 2))


def test_a_message_that_only_calls_has_no_content() -> None:
    events: list[Event] = [
        ToolCallStart(0, "1", "f"),
        ToolCallArguments(0, '{"a"'),
        ToolCallArguments(0, ":1}"),
        END,
    ]
    message = to_message(fold(events))
    assert message.content is None
    assert message.tool_calls
    assert message.tool_calls[0].function.arguments == '{"a":1}'


def test_reasoning_stands_apart_from_content() -> None:
    message = to_message(fold([ReasoningDelta("Hm."), MessageDelta("Yes."), END]))
    assert (message.reasoning_content, message.content) == ("Hm.", "Yes.")


def test_a_call_that_was_none_is_content() -> None:
    events: list[Event] = [ToolCallStart(0, "1", "f"), ToolCallFailed(0, "<f>{x"), END]
    message = to_message(fold(events))
    assert message.content == "<f>{x"
    assert not message.tool_calls


def test_a_stream_says_id_and_name_first_then_the_arguments() -> None:
    deltas = [to_delta(event) for event in (ToolCallStart(1, "9", "f"), ToolCallArguments(1, "{}"))]
    (begun,), (more,) = (delta.tool_calls or () for delta in deltas)
    assert begun.function and more.function
    assert (begun.index, begun.id, begun.type, begun.function.name) == (1, "9", "function", "f")
    assert (more.index, more.id, more.function.name, more.function.arguments) == (
        1,
        None,
        None,
        "{}",
    )
