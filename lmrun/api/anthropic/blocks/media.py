"""Blocks that are more than text and less than a call: images, documents, search results, and what
a model sees of each. It knows no message."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from lmrun.api.anthropic.blocks.content import MAX_BLOCKS, Block, OrText, TextBlock, join_text
from lmrun.api.anthropic.blocks.tagged import Tagged
from lmrun.api.data_urls import decode_base64
from lmrun.api.fields import SAYS_ALL, only
from lmrun.chat.messages import MAX_IMAGE_BYTES, ImagePart, TextPart
from lmrun.settings.base import Settings

_NO_FETCH = "the server fetches nothing from the network; send the file itself"
_NO_FILES = "there are no stored files here; send the file itself"
_NO_PDF = "PDFs are not read here; send their text, or their pages as images"

NoCitations = Annotated[Any, only({"enabled": False})]
"""Answers here cite nothing."""


def _decode_image(value: Any) -> bytes:
    if not isinstance(value, str):
        raise PydanticCustomError(SAYS_ALL, "it must be the image's file as base64")
    try:
        return decode_base64(value, MAX_IMAGE_BYTES)
    except ValueError as error:
        raise PydanticCustomError(SAYS_ALL, "{reason}", {"reason": str(error)}) from None


class Base64Image(Settings):
    """An image's file. Its bytes say what it is; `media_type` is not compared with them."""

    type: Literal["base64"]
    media_type: Literal["image/png", "image/jpeg", "image/jpg", "image/webp"]
    data: Annotated[
        bytes,
        PlainValidator(_decode_image),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
    ]


class ImageBlock(Block):
    """A picture. `transformations`: models resize what is too large for them by themselves."""

    type: Literal["image"]
    source: Annotated[
        Base64Image, Tagged({"base64": Base64Image}, refused={"url": _NO_FETCH, "file": _NO_FILES})
    ]
    transformations: Annotated[Any, only({}, {"oversized_image": "downsize"})] = None


class PlainText(Settings):
    """A document that is text."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: str


class BlocksSource(Settings):
    """A document made of blocks."""

    type: Literal["content"]
    content: Annotated[
        tuple[
            Annotated[TextBlock | ImageBlock, Tagged({"text": TextBlock, "image": ImageBlock})], ...
        ],
        Field(max_length=MAX_BLOCKS, strict=False),
        OrText(),
    ]


class DocumentBlock(Block):
    """A document, whose title and context stand before its text."""

    type: Literal["document"]
    source: Annotated[
        PlainText | BlocksSource,
        Tagged(
            {"text": PlainText, "content": BlocksSource},
            refused={"base64": _NO_PDF, "url": _NO_FETCH, "file": _NO_FILES},
        ),
    ]
    title: str | None = None
    context: str | None = None
    citations: NoCitations = None


class SearchResultBlock(Block):
    """Something found by a search, with where it was found."""

    type: Literal["search_result"]
    source: str
    title: str
    content: Annotated[
        tuple[Annotated[TextBlock, Tagged({"text": TextBlock})], ...],
        Field(max_length=MAX_BLOCKS, strict=False),
    ]
    citations: NoCitations = None


Seen = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock
"""What a user shows to a model."""

SEEN: dict[str, type[Block]] = {
    "text": TextBlock,
    "image": ImageBlock,
    "document": DocumentBlock,
    "search_result": SearchResultBlock,
}


def to_parts(block: Seen) -> list[tuple[TextPart | ImagePart, str]]:
    """What the model sees of a block; with each part where it stands in the block."""
    match block:
        case TextBlock():
            return [(TextPart(block.text), ".text")]
        case ImageBlock():
            return [(ImagePart(block.source.data), ".source.data")]
        case DocumentBlock():
            return _show_document(block)
        case SearchResultBlock():
            head = f"Search result: {block.title} ({block.source})"
            return [(TextPart(f"{head}\n{join_text(block.content)}"), ".content")]


def _show_document(block: DocumentBlock) -> list[tuple[TextPart | ImagePart, str]]:
    title = f"Document {block.title}:" if block.title else None
    head = [text for text in (title, block.context) if text]
    parts: list[tuple[TextPart | ImagePart, str]] = [(TextPart(text), "") for text in head]
    if isinstance(block.source, PlainText):
        return [*parts, (TextPart(block.source.data), ".source.data")]
    for index, inner in enumerate(block.source.content):
        where = f".source.content[{index}]"
        parts += [(part, where + rest) for part, rest in to_parts(inner)]
    return parts
