"""Images in chat requests: data URLs become bytes in their place, all else is refused by name."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lmrun.api.openai.chat_messages import locate_images
from lmrun.api.openai.convert import to_request
from lmrun.api.openai.requests import ChatRequest
from lmrun.api.validate import validate_request
from lmrun.chat.messages import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    ImagePart,
    Message,
    TextPart,
)
from lmrun.chat.request import Request
from lmrun.errors import BodyTooLarge, InvalidParameter, RequestError, UnsupportedParameter

NOT_LOOKED_INTO = b"\x89PNG any bytes"


def image(data: bytes = NOT_LOOKED_INTO, kind: str = "image/png", **more: Any) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{encoded}", **more}}


def url(text: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": text}}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def convert(*messages: dict[str, Any]) -> Request:
    body = {"model": "m", "messages": list(messages)}
    return to_request(validate_request(ChatRequest, body))


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    "kind", ["image/png", "image/jpeg", "image/jpg", "image/webp", "IMAGE/PNG"]
)
def test_parts_keep_their_order(kind: str) -> None:
    conversation = convert(user(text("a"), image(kind=kind), text("b"), text("c"), image(b"2")))
    assert conversation.messages == (
        Message(
            "user",
            (
                TextPart("a"),
                ImagePart(NOT_LOOKED_INTO),
                TextPart("b"),
                TextPart("c"),
                ImagePart(b"2"),
            ),
        ),
    )
    assert conversation.images == (NOT_LOOKED_INTO, b"2")


def test_parts_without_an_image_are_plain_text() -> None:
    assert convert(user(text("a"), text("b"))).messages == (Message("user", "a\nb"),)


def test_an_image_has_a_place_in_the_request() -> None:
    conversation = convert(user(text("a")), user(image(), text("b"), image()))
    assert locate_images(conversation.messages)[1] == "messages[1].content[2].image_url.url"


@pytest.mark.parametrize("detail", [None, "auto"])
def test_the_default_detail_is_taken(detail: str | None) -> None:
    assert convert(user(image(detail=detail))).images == (NOT_LOOKED_INTO,)


@pytest.mark.parametrize(
    ("part", "kind", "says"),
    [
        (url("https://example.com/a.png"), InvalidParameter, "fetches nothing"),
        (url("HTTP://example.com/a.png"), InvalidParameter, "fetches nothing"),
        (url("file:///etc/passwd"), InvalidParameter, "not of the form data:image/png;base64"),
        (url("data:image/png,abc"), InvalidParameter, "not of the form"),
        (url("data:image/png;base64"), InvalidParameter, "not of the form"),
        (url("data:;base64,QUJD"), InvalidParameter, "the media type '' is none of"),
        (url("data:image/gif;base64,QUJD"), InvalidParameter, "'image/gif' is none of image/png"),
        (url("data:image/svg+xml;base64,QUJD"), InvalidParameter, "'image/svg+xml'"),
        (url("data:image/png;base64,QUJ"), InvalidParameter, "base64 is wrong"),
        (url("data:image/png;base64,QU JD"), InvalidParameter, "base64 is wrong"),
        (url("data:image/png;base64,QUJD\n"), InvalidParameter, "base64 is wrong"),
        (url("data:image/png;base64,QQ==QQ=="), InvalidParameter, "base64 is wrong"),
        (url("data:image/png;base64,-_-_"), InvalidParameter, "base64 is wrong"),
        (url("data:image/png;base64,é"), InvalidParameter, "outside ASCII"),
        (url(""), InvalidParameter, "not of the form"),
        (image(b"x" * (MAX_IMAGE_BYTES + 1)), InvalidParameter, "larger than 20000000 bytes"),
        (image(detail="low"), UnsupportedParameter, 'only "auto" is'),
        (image(detail="high"), UnsupportedParameter, 'only "auto" is'),
        (image(detail=1), UnsupportedParameter, 'only "auto" is'),
        (image(size=3), InvalidParameter, "part 0 is not of the form"),
        ({"type": "image_url", "image_url": "data:"}, InvalidParameter, "not of the form"),
        ({"type": "image_url", "image_url": {"url": 1}}, InvalidParameter, "not of the form"),
        ({"type": "image_url", "image_url": {}}, InvalidParameter, "not of the form"),
        ({"type": "image_url"}, InvalidParameter, "not of the form"),
        ({**image(), "text": "x"}, InvalidParameter, "not of the form"),
        (
            {"type": "input_audio", "input_audio": {}},
            UnsupportedParameter,
            "image_url and file are",
        ),
    ],
)
def test_a_wrong_part_is_refused_with_what_would_be_right(
    part: dict[str, Any], kind: type[RequestError], says: str
) -> None:
    with pytest.raises(kind) as refused:
        convert(user(part))
    assert (refused.value.param, says in str(refused.value)) == ("messages[0].content", True)


def test_an_image_of_the_largest_size_is_taken() -> None:
    (taken,) = convert(user(image(b"x" * MAX_IMAGE_BYTES))).images
    assert len(taken) == MAX_IMAGE_BYTES


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_only_users_show_images(role: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        convert({**user(image()), "role": role})
    assert refused.value.param == "messages[0]"


def test_as_many_images_as_there_may_be_are_taken() -> None:
    assert len(convert(user(*[image()] * MAX_IMAGES)).images) == MAX_IMAGES


def test_the_first_image_too_many_is_named() -> None:
    with pytest.raises(InvalidParameter) as refused:
        convert(user(*[image()] * MAX_IMAGES), user(text("and"), image()))
    assert refused.value.param == "messages[1].content[1].image_url.url"


def test_images_too_large_together_are_refused() -> None:
    with pytest.raises(BodyTooLarge, match="40000001 bytes together"):
        convert(user(image(b"x" * MAX_IMAGE_BYTES), image(b"x" * MAX_IMAGE_BYTES), image(b"x")))
