"""What a client asks of a conversation, in the house's words. It knows no dialect and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lmrun.chat.messages import Message, RawPrompt, TokenPrompt, Tool, find_images


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`none`: no call. `auto`: the model decides. `required`: at least one call, or exactly one of
    the tool called `name` if that is given. `parallel`: several calls in one answer are welcome."""

    mode: Literal["none", "auto", "required"] = "auto"
    name: str | None = None
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model's template is told about reasoning; None: nothing.

    `effort`: `reasoning_effort`; `enabled`: `enable_thinking`.
    """

    effort: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation, the tools the model may call in it, and how. `variables`: further ones for
    the model's template."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    thinking: Thinking = Thinking()
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> tuple[bytes, ...]:
        """The pictures of all messages, in their order."""
        return find_images(self.messages)


Prompt = Request | RawPrompt | TokenPrompt
