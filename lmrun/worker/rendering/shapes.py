"""Messages and tools in the shapes that chat templates expect: those of Hugging Face's
`apply_chat_template`. It knows no template."""

from __future__ import annotations

import json
from typing import Any

from lmrun.chat.messages import Message, Tool, ToolCall


def to_message(message: Message) -> dict[str, Any]:
    """Only what the message has: templates ask whether a key is defined."""
    shape: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        shape["reasoning_content"] = message.reasoning
    if message.tool_calls:
        shape["tool_calls"] = [_to_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        shape["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        shape["name"] = message.name
    return shape


def to_tool(tool: Tool) -> dict[str, Any]:
    """A function as OpenAI's API has it."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.parameters
    return {"type": "function", "function": function}


def _to_call(call: ToolCall) -> dict[str, Any]:
    # Templates write arguments with `tojson`, which would make a string of a string.
    try:
        arguments: Any = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}
