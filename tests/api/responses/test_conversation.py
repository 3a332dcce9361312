"""Items become the messages of one conversation, and keep what they say."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lmrun.api.responses.convert import locate_all_images, name_field, to_request
from lmrun.api.responses.requests.bodies import ResponseRequest
from lmrun.api.responses.turns import to_kept_items
from lmrun.api.validate import validate_request
from lmrun.chat.messages import ImagePart, Message, TextPart, Tool, ToolCall
from lmrun.chat.request import Request, Thinking, ToolChoice
from lmrun.errors import InvalidParameter, RequestError

USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "3"}
THOUGHT = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}


def say(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "output_text", "text": text}]}


def parse(*items: Any, **parameters: Any) -> ResponseRequest:
    return validate_request(ResponseRequest, {"model": "m", "input": list(items), **parameters})


def convert(*items: Any, **parameters: Any) -> Request:
    return to_request(parse(*items, **parameters), ())


def image(data: bytes) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {"type": "input_image", "image_url": url, "detail": "auto"}


def test_texts_are_joined_by_line_breaks() -> None:
    parts = [{"type": "input_text", "text": text} for text in ("a", "b")]
    assert convert({"role": "user", "content": parts}).messages == (Message("user", "a\nb"),)


def test_a_file_of_text_is_text_with_its_name() -> None:
    data = base64.b64encode("größe".encode()).decode()
    part = {
        "type": "input_file",
        "filename": "a.txt",
        "file_data": f"data:text/plain;base64,{data}",
    }
    (message,) = convert({"role": "user", "content": [part]}).messages
    assert message.content == "File a.txt:\ngröße"


def test_images_stay_where_they_are() -> None:
    parts = [{"type": "input_text", "text": "What is"}, image(b"1"), image(b"2")]
    (message,) = convert({"role": "user", "content": parts}).messages
    assert message.content == (TextPart("What is"), ImagePart(b"1"), ImagePart(b"2"))


def test_what_was_thought_said_and_called_in_one_answer_is_one_message() -> None:
    messages = convert(USER, THOUGHT, say("Let me"), CALL, OUTPUT, say("3.")).messages
    assert messages == (
        Message("user", "hi"),
        Message(
            "assistant",
            "Let me",
            reasoning="hm",
            tool_calls=(ToolCall("c1", "add", "{}"),),
        ),
        Message("tool", "3", tool_call_id="c1", name="add"),
        Message("assistant", "3."),
    )


def test_calls_that_follow_each_other_are_parallel() -> None:
    second = {**CALL, "call_id": "c2"}
    outputs = [OUTPUT, {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "4"}]}]
    messages = convert(USER, CALL, say("and"), second, *outputs).messages
    assert [message.role for message in messages] == ["user", "assistant", "tool", "tool"]
    assert [call.id for call in messages[1].tool_calls] == ["c1", "c2"]
    assert (messages[1].content, messages[3].content) == ("and", "4")


def test_answers_that_follow_each_other_stay_apart() -> None:
    messages = convert(USER, say("a"), say("b"), THOUGHT, say("c")).messages
    assert [(each.content, each.reasoning) for each in messages[1:]] == [
        ("a", None),
        ("b", None),
        ("c", "hm"),
    ]


def test_a_thought_alone_is_a_message() -> None:
    messages = convert(USER, THOUGHT, USER).messages
    assert messages[1] == Message("assistant", "", reasoning="hm")


def test_a_summary_stands_for_a_thought_that_is_not_there() -> None:
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}]}
    assert convert(USER, item, say("a")).messages[1].reasoning == "short"


def test_a_refusal_is_what_was_said() -> None:
    item = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert convert(USER, item).messages[1] == Message("assistant", "No.")


def test_instructions_alone_are_a_conversation() -> None:
    assert convert(instructions="Go on.").messages == (Message("system", "Go on."),)


def test_an_output_before_its_call_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="no function_call 'c1' before its output"):
        convert(USER, OUTPUT, CALL)


def test_tools_and_choices_are_the_houses_own() -> None:
    tools = [
        {"type": "function", "name": "a", "description": "A.", "parameters": {"type": "object"}},
        {"type": "function", "name": "b", "parameters": None, "strict": True},
    ]
    request = convert(
        USER,
        tools=tools,
        tool_choice={"type": "function", "name": "b"},
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
    )
    assert request.tools == (Tool("a", "A.", {"type": "object"}), Tool("b"))
    assert request.tool_choice == ToolChoice("required", "b", parallel=False)
    assert request.thinking == Thinking(effort="low")
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "a"}],
    }
    request = convert(USER, tools=tools, tool_choice=allowed)
    assert [tool.name for tool in request.tools] == ["a"]
    assert request.tool_choice == ToolChoice("required")


def test_errors_name_the_field_that_their_subject_came_in() -> None:
    earlier = parse({"role": "user", "content": [image(b"0")]}).input
    request = parse(USER, {"role": "user", "content": [image(b"1"), image(b"2")]})
    places = locate_all_images(request, earlier)
    assert places == [
        "previous_response_id",
        "input[1].content[0].image_url",
        "input[1].content[1].image_url",
    ]
    for given, named in (
        ("images[2]", places[2]),
        ("structured", "text.format"),
        ("prompt", "input"),
        ("enable_thinking", "reasoning.effort"),
        ("tools", "tools"),
        (None, None),
    ):
        error = RequestError("wrong", param=given)
        name_field(error, places)
        assert error.param == named


def test_what_is_kept_of_an_input_is_complete() -> None:
    (message,) = to_kept_items("hi")
    assert message["id"].startswith("msg_")
    del message["id"]
    assert message == {
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "hi"}],
    }
    picture = {"type": "input_image", "image_url": "data:", "file_id": None}
    items = to_kept_items([say("a"), {"role": "user", "content": [picture]}, CALL, OUTPUT, THOUGHT])
    assert items[0]["content"] == [{"annotations": [], "type": "output_text", "text": "a"}]
    assert items[1]["content"][0] == {
        "detail": "auto",
        "type": "input_image",
        "image_url": "data:",
    }
    assert [item["id"].split("_")[0] for item in items] == ["msg", "msg", "fc", "fco", "rs"]
    assert items[4]["summary"] == []
    assert to_kept_items(None) == []
