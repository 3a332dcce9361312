"""Messages in the shapes that templates expect."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.chat.messages import Message, ToolCall
from lmrun.worker.rendering.shapes import Form, to_message


def shown(arguments: str, form: Form = Form()) -> Any:  # noqa: B008  it is frozen
    call = ToolCall("call00001", "f", arguments)
    message = to_message(Message("assistant", "", tool_calls=(call,)), form)
    return message["tool_calls"][0]["function"]["arguments"]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ('{"a": [1, "é"]}', {"a": [1, "é"]}),
        ("", {}),
        ("not JSON", "not JSON"),
        ('{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        ('{"a\\ud83d": ["x\\ude00y", 1]}', {"a\ufffd": ["x\ufffdy", 1]}),
    ],
)
def test_arguments_are_an_object_without_half_characters(arguments: str, value: Any) -> None:
    """A model may write half of a surrogate pair as an escape, and clients send it back."""
    assert shown(arguments) == value


def test_arguments_are_as_the_model_wrote_them_where_the_template_takes_text() -> None:
    text = '{"a": "\\ud83d"}'
    assert shown(text, Form(arguments="text")) == text
