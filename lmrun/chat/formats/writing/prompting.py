"""Tools and earlier calls for templates that show none: they become text of messages. It knows no
single format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from lmrun.chat.messages import Conversation, Message, TextPart, Tool, ToolCall


def prompt_with_tools(conversation: Conversation, shown: str) -> Conversation:
    """The conversation with `shown`, which tells of its tools, at the end of its system message;
    of a new one where there is none."""
    messages = conversation.messages
    if messages and messages[0].role == "system":
        messages = (append_text(messages[0], shown), *messages[1:])
    else:
        messages = (Message("system", shown.lstrip()), *messages)
    return replace(conversation, messages=messages, tools=())


def write_calls(
    conversation: Conversation, write: Callable[[Sequence[ToolCall]], str]
) -> Conversation:
    """The conversation with each message's calls as text of it, as `write` writes them."""
    messages = tuple(
        replace(append_text(each, write(each.tool_calls)), tool_calls=())
        if each.tool_calls
        else each
        for each in conversation.messages
    )
    return replace(conversation, messages=messages)


def append_text(message: Message, text: str) -> Message:
    """The message with `text` behind what it says."""
    if isinstance(message.content, str):
        return replace(message, content=message.content + text)
    return replace(message, content=(*message.content, TextPart(text)))


def to_function(tool: Tool) -> dict[str, Any]:
    """The object that describes a tool, without OpenAI's envelope."""
    described = {} if tool.description is None else {"description": tool.description}
    return {"name": tool.name, **described, "parameters": tool.parameters}
