"""A template gets messages in the form that it takes; nobody has to say which."""

from __future__ import annotations

import pytest

from lmrun.chat.messages import Conversation, ImagePart, Message, TextPart, ToolCall
from lmrun.worker.rendering.client import TemplateRenderer
from lmrun.worker.rendering.exchange import Template
from lmrun.worker.rendering.templates import make_renderer

TEXT = "{{ content if content is string else '' }}"
PARTS = "{% for part in content %}{{ part.text if part.type == 'text' else IMAGE }}{% endfor %}"
BOTH = "{% if content is string %}{{ content }}{% else %}" + PARTS + "{% endif %}"
CALL = Message("assistant", "", tool_calls=(ToolCall("call00001", "f", '{"x": [1, "é"]}'),))
MARKER = "(a picture)"


def template(content: str, image: str = "<image>", around: str = "[INST]{}[/INST]") -> str:
    """A template that writes `content` of each message."""
    before, after = around.split("{}")
    body = "{% set content = m.content %}" + before + content.replace("IMAGE", f"'{image}'") + after
    return "{% for m in messages %}" + body + "{% endfor %}"


def calls(arguments: str, condition: str = "m.tool_calls") -> str:
    """A template that writes the arguments of calls where `condition` holds."""
    body = "{% for c in m.tool_calls %}{{ " + arguments + " }}{% endfor %}"
    return (
        "{% for m in messages %}{% if " + condition + " %}" + body + "{% else %}"
        "{{ m.content.strip() }}{% endif %}{% endfor %}"
    )


def render(source: str, *messages: Message) -> str:
    return make_renderer(source, {})(Conversation(messages), MARKER)


@pytest.mark.parametrize("content", [TEXT, PARTS, BOTH], ids=["text", "parts", "both"])
def test_text_is_shown_by_templates_of_every_kind(content: str) -> None:
    assert render(template(content), Message("user", "hello")) == "[INST]hello[/INST]"


@pytest.mark.parametrize(
    "source",
    [
        calls("c.function.arguments | tojson"),
        calls("c.function.arguments"),
        calls("'' + c.function.arguments"),
        calls("c.function.arguments | tojson", "m.content is none"),
        calls("'' + c.function.arguments", "m.role == 'assistant' and m.content is none"),
    ],
    ids=["an object", "printed", "joined", "an object, no content", "text, no content"],
)
def test_arguments_are_json_in_every_template(source: str) -> None:
    assert render(source, CALL) == '{"x": [1, "é"]}'


@pytest.mark.parametrize(("arguments", "shown"), [("", "{}"), ('{"x": 1', '"{\\"x\\": 1"')])
def test_arguments_that_are_no_json_are_shown_all_the_same(arguments: str, shown: str) -> None:
    message = Message("assistant", "", tool_calls=(ToolCall("call00001", "f", arguments),))
    assert render(calls("c.function.arguments | tojson"), message) == shown


def picture(*texts: str) -> Message:
    """A picture between texts."""
    first, second = texts
    return Message("user", (TextPart(first), ImagePart(b"x"), TextPart(second)))


@pytest.mark.parametrize("image", ["<image>", "<|vision|><|pad|>", "[IMG]", "]<]image[>[", "*"])
@pytest.mark.parametrize(
    "around", ["{}", "[INST]{}[/INST]", "<|user|>{}<|end|>", "<image_text>{}</image_text>"]
)
def test_a_mark_stands_where_the_template_writes_a_picture(image: str, around: str) -> None:
    before, after = around.split("{}")
    shown = render(template(BOTH, image, around), picture("a", "b"))
    assert shown == f"{before}a{MARKER}b{after}"


def test_a_picture_stands_where_the_template_puts_it() -> None:
    source = template(BOTH.replace("in content", "in content | sort(attribute='type')"))
    assert render(source, picture("a", "b")) == f"[INST]{MARKER}ab[/INST]"


def test_a_template_that_knows_only_text_gets_the_mark_in_it() -> None:
    assert render(template(TEXT), picture("a", "b")) == f"[INST]a{MARKER}b[/INST]"
    assert render(template("{{ content }}"), picture("a", "b")) == f"[INST]a{MARKER}b[/INST]"


def test_who_writes_what_stands_for_a_picture_shows_none() -> None:
    message = picture("<image> ", " <image>")
    assert render(template(BOTH), message) == f"[INST]<image> {MARKER} <image>[/INST]"


def test_the_process_that_renders_gets_no_picture() -> None:
    renderer = TemplateRenderer(Template(template(BOTH), "", ""))
    try:
        message = Message("user", (TextPart("a"), ImagePart(b"x" * 20_000_000)))
        assert renderer.render(Conversation((message,)), MARKER) == f"[INST]a{MARKER}[/INST]"
    finally:
        renderer.close()
