"""`<|tool_call|>[{"name": …, "arguments": {…}}]<|/tool_call|>`: Phi-4-mini, which also writes
`functools[…]`.

Source: the model card and the chat template of Phi-4-mini-instruct. That template reads no tools
and no calls of its own, only content; so they become content of the messages it does show.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.marked import MarkedObjects
from lmrun.chat.messages import Conversation, Message, TextPart, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

_MARKUP = MarkedObjects(
    name="phi",
    signs=("<|tool|>", "<|/tool|>", "<|end|>"),
    openings=("<|tool_call|>", "functools"),
    closings=("<|/tool_call|>",),
    reveals_special=True,
)


class Phi:
    """Phi-4-mini."""

    name = _MARKUP.name
    reveals_special = _MARKUP.reveals_special
    has_channels = False

    def matches(self, template: str) -> bool:
        return _MARKUP.matches(template)

    def adapt(self, conversation: Conversation) -> Conversation:
        messages = tuple(map(_show_calls, conversation.messages))
        if conversation.tools:
            messages = _show_tools(messages, conversation.tools)
        return replace(conversation, messages=messages, tools=())

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return _MARKUP.make_parser(tools)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return _MARKUP.make_grammar(tools, choice)


def _show_tools(messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> tuple[Message, ...]:
    """The system message, which there may be none of yet, with the tools behind its text."""
    shown = f"<|tool|>{json.dumps([_to_object(tool) for tool in tools], ensure_ascii=False)}"
    if messages and messages[0].role == "system":
        return (_append(messages[0], f"{shown}<|/tool|>"), *messages[1:])
    return (Message("system", f"{shown}<|/tool|>"), *messages)


def _show_calls(message: Message) -> Message:
    if not message.tool_calls:
        return message
    calls = ", ".join(
        f'{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {call.arguments}}}'
        for call in message.tool_calls
    )
    return replace(_append(message, f"<|tool_call|>[{calls}]<|/tool_call|>"), tool_calls=())


def _append(message: Message, text: str) -> Message:
    if isinstance(message.content, str):
        return replace(message, content=message.content + text)
    return replace(message, content=(*message.content, TextPart(text)))


def _to_object(tool: Tool) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    return {"name": tool.name, **described, "parameters": tool.parameters}
