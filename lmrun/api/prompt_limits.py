"""How large a prompt may be, whatever the dialect. Pure."""

from __future__ import annotations

from collections.abc import Callable

from lmrun.chat.messages import MAX_IMAGES, MAX_IMAGES_BYTES, Message, TextPart
from lmrun.chat.request import Request
from lmrun.errors import BodyTooLarge, InvalidParameter

MAX_TEXT_BYTES = 8 * 2**20
"""Of a prompt, in UTF-8: what tokenizers and the frames to a worker are meant for."""


def check_request(request: Request, locate_image: Callable[[int], str]) -> None:
    """Raises BodyTooLarge for too much text or too large images, and InvalidParameter for too
    many. `locate_image`: the parameter that holds the image of that number."""
    check_text(sum(map(_count_bytes, request.messages)))
    images = request.images
    if len(images) > MAX_IMAGES:
        raise InvalidParameter(
            f"The messages hold {len(images)} images; at most {MAX_IMAGES} are taken.",
            param=locate_image(MAX_IMAGES),
        )
    size_bytes = sum(map(len, images))
    if size_bytes > MAX_IMAGES_BYTES:
        raise BodyTooLarge(
            f"The images have {size_bytes} bytes together; at most {MAX_IMAGES_BYTES} are taken."
        )


def check_text(size_bytes: int) -> None:
    """Raises BodyTooLarge."""
    if size_bytes > MAX_TEXT_BYTES:
        raise BodyTooLarge(
            f"The prompt has {size_bytes} bytes of text; at most {MAX_TEXT_BYTES} are taken."
        )


def _count_bytes(message: Message) -> int:
    """Of a message's text, in UTF-8."""
    texts = [message.reasoning or ""]
    texts += [call.name + call.arguments for call in message.tool_calls]
    if isinstance(message.content, str):
        texts.append(message.content)
    else:
        texts += [part.text for part in message.content if isinstance(part, TextPart)]
    return sum(len(text.encode()) for text in texts)
