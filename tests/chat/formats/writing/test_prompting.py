"""Formats whose templates show no tools say in other ways which there are."""

from __future__ import annotations

from lmrun.chat.formats.choose import FORMATS, choose_format
from lmrun.chat.formats.objects.phi import Phi
from lmrun.chat.messages import Conversation, ImagePart, Message, TextPart, Tool, ToolCall
from lmrun.worker.rendering.templates import make_renderer
from tests.support.published_templates import published_templates

TOOL = Tool("get_time", "Tells the time.", {"type": "object", "properties": {}})
CALL = ToolCall("1", "get_time", '{"zone": "UTC"}')


def render(template: str, conversation: Conversation) -> str:
    source = published_templates()[template]
    adapted = choose_format(source).adapt(conversation)
    return make_renderer(source, {"bos_token": "<s>", "eos_token": "</s>"})(adapted, "")


def test_phi_gets_tools_and_calls_as_text_of_messages_that_its_template_shows() -> None:
    adapted = Phi().adapt(
        Conversation(
            (
                Message("system", "Be brief."),
                Message("user", "Time?"),
                Message("assistant", "Well.", tool_calls=(CALL, CALL)),
                Message("tool", "noon", tool_call_id="1"),
            ),
            tools=(TOOL,),
        )
    )
    system, user, assistant, result = adapted.messages
    assert system.content == (
        'Be brief.<|tool|>[{"name": "get_time", "description": "Tells the time.", '
        '"parameters": {"type": "object", "properties": {}}}]<|/tool|>'
    )
    assert assistant.content == (
        'Well.<|tool_call|>[{"name": "get_time", "arguments": {"zone": "UTC"}}, '
        '{"name": "get_time", "arguments": {"zone": "UTC"}}]<|/tool_call|>'
    )
    assert (user.content, result.content) == ("Time?", "noon")
    assert assistant.tool_calls == () and adapted.tools == ()


def test_what_phi_writes_for_earlier_calls_is_read_as_calls() -> None:
    message = Message("assistant", "", tool_calls=(CALL,))
    (adapted,) = Phi().adapt(Conversation((message,))).messages
    assert isinstance(adapted.content, str)
    parser = Phi().make_parser([])
    pieces = [*parser.push(adapted.content), *parser.finish()]
    assert [type(piece).__name__ for piece in pieces] == ["CallStart", "CallArguments", "CallEnd"]


def test_without_a_system_message_there_is_a_new_one() -> None:
    adapted = Phi().adapt(Conversation((Message("user", "Time?"),), tools=(TOOL,)))
    assert [message.role for message in adapted.messages] == ["system", "user"]


def test_a_system_message_of_parts_gets_another_part() -> None:
    parts = (TextPart("Look."), ImagePart(b"..."))
    adapted = Phi().adapt(Conversation((Message("system", parts),), tools=(TOOL,)))
    assert adapted.messages[0].content[:2] == parts
    assert isinstance(adapted.messages[0].content[2], TextPart)


def test_a_conversation_without_tools_and_calls_stays_as_it_is() -> None:
    conversation = Conversation((Message("user", "Hello"),))
    for name in ("phi", "deepseek_v3_1_prompted", "firefunction"):
        format = next(each for each in FORMATS if each.name == name)
        assert format.adapt(conversation) == conversation


def test_deepseek_v3_1_is_told_of_tools_as_its_model_card_says() -> None:
    prompt = render(
        "deepseek-ai-DeepSeek-V3.1",
        Conversation((Message("system", "Be brief."), Message("user", "Time?")), tools=(TOOL,)),
    )
    assert prompt.startswith("<s>Be brief.\n\n## Tools\nYou have access to the following tools:\n")
    assert '### get_time\nDescription: Tells the time.\n\nParameters: {"type": "object"' in prompt
    assert "<｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments" in prompt
    assert prompt.endswith("<｜User｜>Time?<｜Assistant｜><think></think>")


def test_firefunction_is_told_of_tools_in_a_variable() -> None:
    template = "fireworks-ai-llama-3-firefunction-v2"
    messages = (Message("user", "Time?"),)
    prompt = render(template, Conversation(messages, (TOOL,), variables={"datetime": "now"}))
    assert '"name": "get_time"' in prompt and "Today is now." in prompt
