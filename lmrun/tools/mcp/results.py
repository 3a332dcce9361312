"""What a server gives, in words for a model: results of tools, resources, prompts. Pure; it knows
no session."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    GetPromptResult,
    ImageContent,
    PromptMessage,
    ReadResourceResult,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from lmrun.chat.messages import MAX_IMAGE_BYTES, ImagePart, Message, TextPart
from lmrun.errors import McpProtocol, McpUnusable
from lmrun.tools.mcp.cleaning import clean_line
from lmrun.tools.output import clean_output
from lmrun.tools.schemas.validation import SchemaUnusable, find_errors
from lmrun.tools.tool import ErrorKind, ToolResult

MAX_LINK = 500
MAX_PROMPT_MESSAGES = 256


def make_result(
    result: CallToolResult,
    output_schema: Mapping[str, Any] | None,
    *,
    max_output: int,
    is_untrusted: bool,
) -> ToolResult:
    """What the model reads of a call. Raises McpProtocol where the result is not what the tool has
    promised."""
    if output_schema is not None and not result.is_error:
        _check(result.structured_content, output_schema)
    parts = [describe(block) for block in result.content]
    if not any(isinstance(block, TextContent | EmbeddedResource) for block in result.content):
        parts += _show_structured(result.structured_content)
    text = "\n".join(part for part in parts if part) or "Done; there is no output."
    error: ErrorKind | None = "failed" if result.is_error else None
    return make_text_result(text, error, max_output=max_output, is_untrusted=is_untrusted)


def make_text_result(
    text: str, error: ErrorKind | None, *, max_output: int, is_untrusted: bool
) -> ToolResult:
    """A text of the server's, cleaned and shortened."""
    cleaned, size = clean_output(text, max_output)
    return ToolResult(cleaned, error, is_untrusted, size)


def describe(block: ContentBlock) -> str:
    """Text as it is; what a model cannot read, in words."""
    match block:
        case TextContent(text=text):
            return text
        case EmbeddedResource(resource=contents):
            return describe_contents(contents)
        case ImageContent(data=data, mime_type=kind):
            return f"[an image, {clean_line(kind, 100)}, {_size_of(data)} bytes]"
        case AudioContent(data=data, mime_type=kind):
            return f"[a sound, {clean_line(kind, 100)}, {_size_of(data)} bytes]"
        case ResourceLink(uri=uri, name=name):
            return f"[the resource {clean_line(name, MAX_LINK)}: {clean_line(uri, MAX_LINK)}]"


def describe_contents(contents: TextResourceContents | BlobResourceContents) -> str:
    """A resource's text, or what it is instead."""
    if isinstance(contents, TextResourceContents):
        return contents.text
    kind = clean_line(contents.mime_type or "of no known type", 100)
    where = clean_line(contents.uri, MAX_LINK)
    return f"[the resource {where}, {kind}, {_size_of(contents.blob)} bytes]"


def make_resource_text(result: ReadResourceResult) -> str:
    """All of a resource's contents."""
    return "\n".join(map(describe_contents, result.contents)) or "The resource is empty."


def make_context(
    result: ReadResourceResult, max_output: int
) -> str | tuple[TextPart | ImagePart, ...]:
    """All of a resource's contents, of which the text is cleaned and shortened. Raises McpUnusable
    for what no chat can take."""
    texts: list[str] = []
    images: list[ImagePart] = []
    for contents in result.contents:
        found = _read_contents(contents)
        if isinstance(found, str):
            texts.append(found)
        else:
            images.append(found)
    text, _ = clean_output("\n".join(texts), max_output)
    if not images:
        return text or "The resource is empty."
    return (*((TextPart(text),) if text else ()), *images)


def make_messages(result: GetPromptResult, max_output: int) -> tuple[Message, ...]:
    """A prompt as messages of a conversation. A shortened one would say something else: raises
    McpUnusable for more than `max_output` bytes of text, and for what no chat can take."""
    if len(result.messages) > MAX_PROMPT_MESSAGES:
        raise McpUnusable(f"The prompt has {len(result.messages)} messages; that is too many.")
    messages = tuple(map(_make_message, result.messages))
    texts = [it.content for it in messages if isinstance(it.content, str)]
    size = sum(len(text.encode()) for text in texts)
    if size > max_output:
        raise McpUnusable(
            f"The prompt has {size} bytes of text, more than the server's `max_output`, "
            f"{max_output}."
        )
    return messages


def read_image(content: ImageContent) -> ImagePart:
    """The picture's bytes. Raises McpProtocol where they are none, or too many."""
    return _decode_image(content.data)


def _decode_image(text: str) -> ImagePart:
    data = _decode(text)
    if len(data) > MAX_IMAGE_BYTES:
        raise McpProtocol(f"An image has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are taken.")
    return ImagePart(data)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise McpProtocol("A file's content is not base64.") from None


def _make_message(message: PromptMessage) -> Message:
    content = message.content
    match content:
        case ImageContent():
            return Message(message.role, (read_image(content),))
        case AudioContent(mime_type=kind):
            raise McpUnusable(f"The prompt holds a sound, {clean_line(kind, 100)}.")
        case EmbeddedResource(resource=contents):
            text = _read_contents(contents)
        case _:
            text = describe(content)
    if isinstance(text, ImagePart):
        return Message(message.role, (text,))
    return Message(message.role, clean_output(text, 4 * len(text) + 1)[0])


def _read_contents(contents: TextResourceContents | BlobResourceContents) -> str | ImagePart:
    """Text or a picture. Raises McpUnusable for what is neither."""
    if isinstance(contents, TextResourceContents):
        return contents.text
    kind = contents.mime_type or "of no known type"
    if kind.startswith("image/"):
        return _decode_image(contents.blob)
    if kind.startswith("text/"):
        return _decode(contents.blob).decode("utf-8", "replace")
    where = clean_line(contents.uri, MAX_LINK)
    raise McpUnusable(f"The resource {where} is no text and no image: {clean_line(kind, 100)}.")


def make_content(blocks: Sequence[object]) -> str | tuple[TextPart | ImagePart, ...]:
    """What somebody says in text and pictures, as a message's content. Raises McpProtocol for
    anything else."""
    parts: list[TextPart | ImagePart] = []
    for block in blocks:
        match block:
            case TextContent(text=text):
                parts.append(TextPart(text))
            case ImageContent():
                parts.append(read_image(block))
            case _:
                raise McpProtocol(f"A {type(block).__name__} cannot be given to a model here.")
    if all(isinstance(part, TextPart) for part in parts):
        return "\n".join(part.text for part in parts if isinstance(part, TextPart))
    return tuple(parts)


def _check(value: Any, schema: Mapping[str, Any]) -> None:
    if value is None:
        raise McpProtocol("The tool has promised structured content, and there is none.")
    try:
        error = next(find_errors(value, schema), None)
    except SchemaUnusable as unusable:
        raise McpProtocol(f"The result cannot be checked: {unusable}.") from None
    if error is not None:
        where = clean_line(error.json_path, 100)
        why = clean_line(error.message, 300)
        raise McpProtocol(f"The result is not as the tool has promised: {where}: {why}.")


def _show_structured(value: Any) -> list[str]:
    if value is None:
        return []
    try:
        return [json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))]
    except ValueError:
        raise McpProtocol("The result holds a number that JSON does not have.") from None


def _size_of(data: str) -> int:
    return len(data) * 3 // 4
