"""Blocks, roles and results become the house's messages, in an order that makes a conversation."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from lmrun.api.anthropic.convert import to_request
from lmrun.chat.messages import ImagePart, Message, TextPart, ToolCall
from lmrun.errors import InvalidParameter, UnsupportedParameter
from tests.api.anthropic.bodies import TOOL, USER, convert, parse, refusal

PICTURE = b"\x89PNG picture"
IMAGE = {
    "type": "image",
    "source": {
        "type": "base64",
        "media_type": "image/png",
        "data": base64.b64encode(PICTURE).decode(),
    },
}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Zürich"}}
CALLED = [USER, {"role": "assistant", "content": [CALL]}]


def text(content: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": content, **fields}


def said(role: str, *content: Any) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def result(content: Any, id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **fields}


def messages_of(*messages: Any, **parameters: Any) -> tuple[Message, ...]:
    return convert(messages=list(messages), **parameters).messages


def test_a_string_is_one_block_of_text() -> None:
    assert messages_of(USER) == messages_of(said("user", text("hi"))) == (Message("user", "hi"),)


def test_messages_of_one_role_that_follow_each_other_are_joined() -> None:
    assert messages_of(
        USER, said("user", text("there", cache_control={"type": "ephemeral"})), USER
    ) == (Message("user", "hi\nthere\nhi"),)


@pytest.mark.parametrize("system", ["Be brief.", [text("Be brief.")]])
def test_the_system_prompt_comes_first(system: Any) -> None:
    assert messages_of(USER, system=system) == (
        Message("system", "Be brief."),
        Message("user", "hi"),
    )


def test_what_an_agent_tells_its_accountant_is_no_part_of_the_prompt() -> None:
    system = [
        text("x-anthropic-billing-header: cc_version=2.1; cch=fa690;"),
        text("You are an agent.", cache_control={"type": "ephemeral"}),
        text("Use tools."),
    ]
    assert messages_of(USER, system=system)[0] == Message("system", "You are an agent.\nUse tools.")
    assert messages_of(USER, system=system[:1]) == (Message("user", "hi"),)


def test_instructions_may_come_later() -> None:
    assert messages_of(USER, {"role": "system", "content": "Be brief."}, USER) == (
        Message("user", "hi"),
        Message("system", "Be brief."),
        Message("user", "hi"),
    )


def test_a_call_and_its_result_find_each_other() -> None:
    messages = messages_of(*CALLED, said("user", result("sunny"), text("And tomorrow?")))
    assert messages == (
        Message("user", "hi"),
        Message(
            "assistant",
            "",
            tool_calls=(ToolCall("toolu_1", "get_weather", '{"city": "Zürich"}'),),
        ),
        Message("tool", "sunny", tool_call_id="toolu_1", name="get_weather"),
        Message("user", "And tomorrow?"),
    )


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        ([text("a"), text("b")], {}, "a\nb"),
        (None, {}, ""),
        ("no such city", {"is_error": True}, "Error: no such city"),
        ("fine", {"is_error": False, "cache_control": {"type": "ephemeral"}}, "fine"),
    ],
)
def test_a_result_is_text(content: Any, fields: dict[str, Any], expected: str) -> None:
    messages = messages_of(*CALLED, said("user", result(content, **fields)))
    assert messages[-1].content == expected


def test_pictures_of_a_result_follow_it() -> None:
    request = parse(messages=[*CALLED, said("user", result([text("seen"), IMAGE]), text("What?"))])
    asked = to_request(request)
    assert asked.prompt.messages[2:] == (
        Message("tool", "seen", tool_call_id="toolu_1", name="get_weather"),
        Message("user", (ImagePart(PICTURE), TextPart("What?"))),
    )
    assert asked.images == ("messages[2].content[0].content[1].source.data",)


def test_results_of_parallel_calls_are_messages_of_their_own() -> None:
    second = {**CALL, "id": "toolu_2", "input": {}}
    messages = messages_of(
        USER,
        said("assistant", text("Let me see."), CALL, second),
        said("user", result("b", "toolu_2")),
        said("user", result("a")),
    )
    assert [call.id for call in messages[1].tool_calls] == ["toolu_1", "toolu_2"]
    assert messages[1].content == "Let me see."
    assert [(it.role, it.content) for it in messages[2:]] == [("tool", "b"), ("tool", "a")]


def test_thoughts_come_back_as_reasoning_and_nobody_reads_encrypted_ones() -> None:
    messages = messages_of(
        USER,
        said(
            "assistant",
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "redacted_thinking", "data": "…"},
            text("Hello."),
        ),
        USER,
    )
    assert messages[1] == Message("assistant", "Hello.", reasoning="Hm.")


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    block = {**CALL, "caller": {"type": "direct"}}
    messages = messages_of(
        USER, said("assistant", text("Hm.", citations=[]), block), said("user", result("x"))
    )
    assert json.loads(messages[1].tool_calls[0].arguments) == {"city": "Zürich"}


def test_pictures_and_documents_become_what_a_model_can_see() -> None:
    document = {
        "type": "document",
        "title": "notes.txt",
        "context": "From 1999.",
        "source": {"type": "text", "media_type": "text/plain", "data": "Buy milk."},
        "citations": {"enabled": False},
    }
    inner = {"type": "document", "source": {"type": "content", "content": [text("p. 1"), IMAGE]}}
    found = {
        "type": "search_result",
        "title": "Milk",
        "source": "https://example.com",
        "content": [text("It is white.")],
    }
    assert messages_of(said("user", document, found)) == (
        Message(
            "user",
            "Document notes.txt:\nFrom 1999.\nBuy milk.\n"
            "Search result: Milk (https://example.com)\nIt is white.",
        ),
    )
    asked = to_request(parse(messages=[USER, said("user", IMAGE, inner)]))
    assert asked.prompt.messages == (
        Message("user", (TextPart("hi"), ImagePart(PICTURE), TextPart("p. 1"), ImagePart(PICTURE))),
    )
    assert asked.images == (
        "messages[1].content[0].source.data",
        "messages[1].content[1].source.content[1].source.data",
    )


@pytest.mark.parametrize(
    ("block", "param", "reason"),
    [
        ({**IMAGE, "source": {"type": "url", "url": "https://a.b/c"}}, "source", "fetches nothing"),
        ({**IMAGE, "source": {"type": "file", "file_id": "f"}}, "source", "no stored files"),
        ({"type": "document", "source": {"type": "base64"}}, "source", "PDF"),
        ({**IMAGE, "transformations": {"oversized_image": "error"}}, "transformations", "only"),
        ({"type": "container_upload", "file_id": "f"}, "", "later issue"),
        ({"type": "web_search_tool_result"}, "", "later issue"),
        ({"type": "thinking", "thinking": "Hm."}, "", "assistant"),
        ({"type": "video"}, "", "only"),
    ],
)
def test_a_block_that_is_not_supported_says_why(block: Any, param: str, reason: str) -> None:
    error = refusal(messages=[said("user", text("see"), block)])
    assert isinstance(error, UnsupportedParameter)
    assert error.param == "messages[0].content[1]" + (f".{param}" if param else "")
    assert reason in str(error)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (said("user", "hi"), "messages[1].content[0]"),
        (said("user", {"text": "hi"}), "messages[1].content[0]"),
        (said("user", text("hi", colour="red")), "messages[1].content[0].colour"),
        (said("user", {"type": "text"}), "messages[1].content[0].text"),
        (
            said("user", {**IMAGE, "source": {**IMAGE["source"], "data": "=!"}}),  # type: ignore[dict-item]
            "messages[1].content[0].source.data",
        ),
        (
            said("user", {**IMAGE, "source": {**IMAGE["source"], "media_type": "image/gif"}}),  # type: ignore[dict-item]
            "messages[1].content[0].source.media_type",
        ),
        ({"role": "user", "content": 5}, "messages[1].content"),
        ({"role": "user"}, "messages[1].content"),
        ({"role": "tool", "content": "x"}, "messages[1]"),
        ({"role": "user", "content": "hi", "name": "me"}, "messages[1].name"),
        ("hi", "messages[1]"),
        (said("assistant", {**CALL, "input": "{}"}), "messages[1].content[0].input"),
    ],
)
def test_a_wrong_message_is_refused_by_place(message: Any, param: str) -> None:
    assert refusal(messages=[USER, message]).param == param


@pytest.mark.parametrize(
    ("messages", "param", "kind"),
    [
        ([said("assistant", text("hi")), USER], "messages[0].role", InvalidParameter),
        (
            [USER, said("assistant", text("The answer is"))],
            "messages[1].role",
            UnsupportedParameter,
        ),
        ([*CALLED, USER], "messages[1].content[0]", InvalidParameter),
        (
            [*CALLED, said("user", result("x", "other"))],
            "messages[2].content[0].tool_use_id",
            InvalidParameter,
        ),
        (
            [*CALLED, said("user", result("x"), result("y"))],
            "messages[2].content[1].tool_use_id",
            InvalidParameter,
        ),
        (
            [USER, said("assistant", CALL, CALL), USER],
            "messages[1].content[1].id",
            InvalidParameter,
        ),
        ([said("user", result("x"))], "messages[0].content[0].tool_use_id", InvalidParameter),
        ([said("user", *[IMAGE] * 17)], "messages[0].content[16].source.data", InvalidParameter),
    ],
)
def test_an_order_that_makes_no_conversation_is_refused(
    messages: list[Any], param: str, kind: type[Exception]
) -> None:
    error = refusal(messages=messages)
    assert (error.param, type(error)) == (param, kind)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ("auto", None, True)),
        ({"type": "auto"}, ("auto", None, True)),
        ({"type": "auto", "disable_parallel_tool_use": True}, ("auto", None, False)),
        ({"type": "any"}, ("required", None, True)),
        ({"type": "tool", "name": "get_weather"}, ("required", "get_weather", True)),
        ({"type": "none"}, ("none", None, True)),
    ],
)
def test_a_choice_of_tools_is_taken_over(choice: Any, expected: Any) -> None:
    given = {} if choice is None else {"tool_choice": choice}
    request = convert(tools=[TOOL], **given)
    chosen = request.tool_choice
    assert (chosen.mode, chosen.name, chosen.parallel) == expected
    assert request.tools[0].parameters == TOOL["input_schema"]


def test_examples_are_shown_to_the_model() -> None:
    (tool,) = convert(tools=[{**TOOL, "input_examples": [{"city": "Köln"}]}]).tools
    assert tool.description == 'Tells the weather.\nExamples of its input:\n{"city": "Köln"}'
