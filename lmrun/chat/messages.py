"""A conversation as values. It knows no dialect, no template and no engine."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]

MAX_IMAGES = 16
"""Of one prompt."""
MAX_IMAGE_BYTES = 20_000_000
MAX_IMAGES_BYTES = 40_000_000
"""Of all images of a prompt together."""


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """A piece of a message's text."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, tag="image"):
    """A picture inside a message. `data`: the file's bytes, not looked into yet."""

    data: bytes


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation. `content`: its text, or parts in their order when there are
    pictures among them."""

    role: Role
    content: str | tuple[TextPart | ImagePart, ...]


class Conversation(msgspec.Struct, frozen=True, tag="conversation"):
    """Messages that the model's chat template turns into its prompt."""

    messages: tuple[Message, ...]

    @property
    def images(self) -> tuple[bytes, ...]:
        """The pictures of all messages, in their order."""
        return tuple(
            part.data
            for message in self.messages
            if not isinstance(message.content, str)
            for part in message.content
            if isinstance(part, ImagePart)
        )


class RawPrompt(msgspec.Struct, frozen=True, tag="raw"):
    """Text that is the prompt as it stands; no template is applied."""

    text: str


Prompt = Conversation | RawPrompt


def mark_images(messages: tuple[Message, ...], marker: str) -> tuple[Message, ...]:
    """The same messages as text alone, with `marker` where a picture stands.

    Texts that follow each other are joined by a line break, as everywhere; a marker stands close.
    """
    return tuple(
        message
        if isinstance(message.content, str)
        else Message(message.role, _join(message.content, marker))
        for message in messages
    )


def _join(parts: tuple[TextPart | ImagePart, ...], marker: str) -> str:
    joined = ""
    follows_text = False
    for part in parts:
        if isinstance(part, TextPart):
            joined += f"\n{part.text}" if follows_text else part.text
        else:
            joined += marker
        follows_text = isinstance(part, TextPart)
    return joined
