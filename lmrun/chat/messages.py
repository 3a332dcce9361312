"""A conversation as values. It knows no dialect, no template and no engine."""

from __future__ import annotations

from typing import Any, Literal

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


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that an assistant wants called. `arguments`: JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call. `parameters`: the JSON schema of its arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] = msgspec.field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation. `content`: its text, or parts in their order when there are
    pictures among them.

    `reasoning` and `tool_calls` are an assistant's; `tool_call_id` and `name`, of the tool, belong
    to a `tool` message, whose content is the call's result.
    """

    role: Role
    content: str | tuple[TextPart | ImagePart, ...]
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class Conversation(msgspec.Struct, frozen=True, omit_defaults=True, tag="conversation"):
    """Messages that the model's chat template turns into its prompt.

    `tools`: as the template shows them to the model. `variables`: further ones of the template,
    such as `enable_thinking`.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    variables: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def images(self) -> tuple[bytes, ...]:
        """The pictures of all messages, in their order."""
        return find_images(self.messages)


class RawPrompt(msgspec.Struct, frozen=True, tag="raw"):
    """Text that is the prompt as it stands; no template is applied."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True, tag="tokens"):
    """Token ids that are the prompt as they stand; nothing is added."""

    tokens: tuple[int, ...]


Prompt = Conversation | RawPrompt | TokenPrompt
"""What a worker makes tokens of."""


def find_images(messages: tuple[Message, ...]) -> tuple[bytes, ...]:
    """The pictures of all messages, in their order."""
    return tuple(
        part.data
        for message in messages
        if not isinstance(message.content, str)
        for part in message.content
        if isinstance(part, ImagePart)
    )


def mark_images(messages: tuple[Message, ...], marker: str) -> tuple[Message, ...]:
    """The same messages as text alone, with `marker` where a picture stands.

    Texts that follow each other are joined by a line break, as everywhere; a marker stands close.
    """
    return tuple(
        message
        if isinstance(message.content, str)
        else msgspec.structs.replace(message, content=_join(message.content, marker))
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
