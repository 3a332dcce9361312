"""A conversation as values. It knows no dialect, no template and no engine."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class Conversation(msgspec.Struct, frozen=True, tag="conversation"):
    """Messages that the model's chat template turns into its prompt."""

    messages: tuple[Message, ...]


class RawPrompt(msgspec.Struct, frozen=True, tag="raw"):
    """Text that is the prompt as it stands; no template is applied."""

    text: str


Prompt = Conversation | RawPrompt
