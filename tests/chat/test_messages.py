"""Messages with pictures: text in their order, a mark where a picture stands."""

from __future__ import annotations

from lmrun.chat.messages import ImagePart, Message, TextPart, mark_images

A, B, PICTURE = TextPart("a"), TextPart("b"), ImagePart(b"...")


def mark(*parts: TextPart | ImagePart) -> str:
    (message,) = mark_images((Message("user", parts),), "[*]")
    assert isinstance(message.content, str)
    return message.content


def test_text_stays_as_it_is() -> None:
    messages = (Message("system", "s"), Message("user", "[*]"))
    assert mark_images(messages, "[*]") == messages


def test_a_mark_stands_where_a_picture_was() -> None:
    assert mark(A, PICTURE, PICTURE, B) == "a[*][*]b"


def test_texts_that_follow_each_other_are_joined_by_a_line_break() -> None:
    assert mark(PICTURE, A, B, PICTURE) == "[*]a\nb[*]"
