"""LM Studio's default format: what a model is told whose template knows no tools."""

from __future__ import annotations

import pytest

from lmrun.chat.formats.choose import choose_format
from lmrun.chat.formats.default import Default
from lmrun.chat.messages import Conversation, ImagePart, Message, TextPart, Tool, ToolCall
from lmrun.worker.rendering.templates import make_renderer
from tests.support.published_templates import published_templates

TOOL = Tool(
    "get_delivery_date",
    "Get the delivery date for a customer's order",
    {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
)
PROMPT = """\
You are a tool-calling AI. You can request calls to available tools with this EXACT format:
[TOOL_REQUEST]{"name": "tool_name", "arguments": {"param1": "value1"}}[END_TOOL_REQUEST]

AVAILABLE TOOLS:
{
  "type": "toolArray",
  "tools": [
    {
      "type": "function",
      "function": {
        "name": "get_delivery_date",
        "description": "Get the delivery date for a customer's order",
        "parameters": {
          "type": "object",
          "properties": {
            "order_id": {
              "type": "string"
            }
          },
          "required": [
            "order_id"
          ]
        }
      }
    }
  ]
}

RULES:
- Only use tools from AVAILABLE TOOLS
- Include all required arguments
- Use one [TOOL_REQUEST] block per tool
- Never use [TOOL_RESULT]
- If you decide to call one or more tools, there should be no other text in your message

Examples:
"Check Paris weather"
[TOOL_REQUEST]{"name": "get_weather", "arguments": {"location": "Paris"}}[END_TOOL_REQUEST]

"Send email to John about meeting and open browser"
[TOOL_REQUEST]{"name": "send_email", "arguments": {"to": "John", "subject": "meeting"}}\
[END_TOOL_REQUEST]
[TOOL_REQUEST]{"name": "open_browser", "arguments": {}}[END_TOOL_REQUEST]

Respond conversationally if no matching tools exist."""

ASK = Message(role="user", content="When?")
CALL = ToolCall("a", "get_delivery_date", '{"order_id": "123"}')
CALLING = Message(role="assistant", content="", tool_calls=(CALL,))
CALL_TEXT = (
    '[TOOL_REQUEST]{"name": "get_delivery_date", "arguments": {"order_id": "123"}}'
    "[END_TOOL_REQUEST]"
)
RESULT = Message(role="tool", content="Friday", tool_call_id="a")


def adapt(
    *messages: Message, tools: tuple[Tool, ...] = (), takes_system: bool = True
) -> list[Message]:
    adapted = Default(takes_system).adapt(Conversation(messages, tools=tools))
    assert adapted.tools == ()
    return list(adapted.messages)


def test_the_system_prompt_is_that_of_the_documentation_to_the_letter() -> None:
    assert adapt(ASK, tools=(TOOL,)) == [Message(role="system", content=PROMPT), ASK]


def test_it_follows_the_system_prompt_of_the_conversation() -> None:
    system = Message(role="system", content="Be brief.")
    first, _ = adapt(system, ASK, tools=(TOOL,))
    assert first == Message(role="system", content=f"Be brief.\n\n{PROMPT}")


def test_a_tool_without_a_description_has_none() -> None:
    first, _ = adapt(ASK, tools=(Tool("get_time"),))
    assert '"description"' not in str(first.content)


def test_calls_become_text_and_results_come_from_the_user() -> None:
    result = Message(role="user", content="[TOOL_RESULT]Friday[END_TOOL_RESULT]")
    spoken = Message(role="assistant", content=CALL_TEXT)
    assert adapt(ASK, CALLING, RESULT) == [ASK, spoken, result]


def test_what_was_said_before_calls_stays_before_them() -> None:
    second = ToolCall("b", "get_time", "")
    calling = Message(role="assistant", content="Wait.", tool_calls=(CALL, second))
    (message,) = adapt(calling)
    assert message.content == (
        f'Wait.\n{CALL_TEXT}\n[TOOL_REQUEST]{{"name": "get_time", "arguments": {{}}}}'
        "[END_TOOL_REQUEST]"
    )


def test_results_and_the_user_who_goes_on_speak_at_once() -> None:
    """Many templates insist that user and assistant alternate."""
    *_, last = adapt(ASK, CALLING, RESULT, RESULT, Message(role="user", content="Well?"))
    result = "[TOOL_RESULT]Friday[END_TOOL_RESULT]"
    assert last == Message(role="user", content=f"{result}\n\n{result}\n\nWell?")


def test_a_result_with_a_picture_keeps_it() -> None:
    picture = ImagePart(b"x")
    (message,) = adapt(Message(role="tool", content=(picture, TextPart("A cat."))))
    assert message.content == (
        TextPart("[TOOL_RESULT]"),
        picture,
        TextPart("A cat.[END_TOOL_RESULT]"),
    )


def test_pictures_of_a_user_who_goes_on_stay_in_their_order() -> None:
    picture = ImagePart(b"x")
    (message,) = adapt(RESULT, Message(role="user", content=(picture,)))
    assert message.content == (TextPart("[TOOL_RESULT]Friday[END_TOOL_RESULT]"), picture)


def test_where_a_template_refuses_a_system_message_the_user_begins_with_it() -> None:
    (message,) = adapt(ASK, tools=(TOOL,), takes_system=False)
    assert message == Message(role="user", content=f"{PROMPT}\n\nWhen?")


UNUSABLE = {"fireworks-ai-llama-3-firefunction-v2"}
"""Fails for any conversation without a variable called `functions`, tools or none."""


def find_templates() -> list[str]:
    return [
        name
        for name, source in published_templates().items()
        if choose_format(source).name == "default" and name not in UNUSABLE
    ]


@pytest.mark.parametrize("name", find_templates())
def test_published_templates_without_a_format_of_their_own_show_it_all(name: str) -> None:
    source = published_templates()[name]
    conversation = choose_format(source).adapt(Conversation((ASK, CALLING, RESULT), tools=(TOOL,)))
    prompt = make_renderer(source, {"bos_token": "<s>", "eos_token": "</s>"})(conversation, "")
    for shown in ("AVAILABLE TOOLS", CALL_TEXT, "[TOOL_RESULT]Friday[END_TOOL_RESULT]", "When?"):
        assert shown in prompt
