"""Earlier calls, as the templates of some families insist on them."""

from __future__ import annotations

from lmrun.chat.formats.objects.llama import Llama
from lmrun.chat.formats.objects.mistral import Mistral, shorten_id
from lmrun.chat.messages import Conversation, Message, ToolCall
from lmrun.worker.rendering.templates import make_renderer
from tests.support.published_templates import published_templates

LONG = "call_8a0f7c3e-1b2c"
OTHER = "call_8a0f7c3e-1b2d"
CALLS = (ToolCall(LONG, "get_time", "{}"), ToolCall(OTHER, "get_weather", '{"location": "Rome"}'))
MESSAGES = (
    Message(role="user", content="Time and weather?"),
    Message(role="assistant", content="", tool_calls=CALLS),
    Message(role="tool", content="rain", tool_call_id=OTHER),
    Message(role="tool", content="noon", tool_call_id=LONG),
    Message(role="assistant", content="Noon, and rain."),
    Message(role="user", content="Thanks."),
)


def render(template: str, conversation: Conversation) -> str:
    source = published_templates()[template]
    return make_renderer(source, {"bos_token": "<s>", "eos_token": "</s>"})(conversation, "")


def test_mistral_gets_ids_of_nine_letters_and_digits_that_still_belong_together() -> None:
    adapted = Mistral(is_named=False).adapt(Conversation(MESSAGES))
    first, second = (call.id for call in adapted.messages[1].tool_calls)
    assert first != second
    assert all(len(id) == 9 and id.isalnum() and id.isascii() for id in (first, second))
    assert [m.tool_call_id for m in adapted.messages[2:4]] == [second, first]
    assert f'"id": "{first}"' in render("mistralai-Mistral-Nemo-Instruct-2407", adapted)
    assert f"[CALL_ID]{second}" in render("Mistral-Small-3.2-24B-Instruct-2506", adapted)


def test_an_id_that_fits_stays_and_the_same_id_becomes_the_same() -> None:
    assert shorten_id("abcDEF123") == "abcDEF123"
    assert shorten_id(LONG) == shorten_id(LONG) != shorten_id(OTHER)
    assert len(shorten_id("\ud800")) == 9


def test_llama_gets_one_call_a_message_each_with_its_result() -> None:
    adapted = Llama().adapt(Conversation(MESSAGES))
    said = [(m.role, m.tool_calls or m.content) for m in adapted.messages]
    assert said[1:5] == [
        ("assistant", CALLS[:1]),
        ("tool", "noon"),
        ("assistant", CALLS[1:]),
        ("tool", "rain"),
    ]
    prompt = render("meta-llama-Llama-3.2-3B-Instruct", adapted)
    assert prompt.index("get_time") < prompt.index("noon") < prompt.index("get_weather")


def test_llama_keeps_what_belongs_to_no_call() -> None:
    single = (MESSAGES[0], Message(role="tool", content="?"), MESSAGES[4])
    assert Llama().adapt(Conversation(single)).messages == single
    unanswered = Llama().adapt(Conversation(MESSAGES[:2])).messages
    assert [m.tool_calls for m in unanswered] == [(), CALLS[:1], CALLS[1:]]
