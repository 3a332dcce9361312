"""Messages and tools in the shapes that chat templates expect: those of Hugging Face's
`apply_chat_template`, in the form that one template takes. It knows no template."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from lmrun.chat.messages import ImagePart, Message, TextPart, Tool, ToolCall, mark_images


@dataclass(frozen=True, slots=True)
class Form:
    """What a template takes, where templates differ.

    `lists`: a content that is text is a list of one part, too. `image`: what the template writes
    for a picture among a content's parts; None if it takes none. `arguments`: of a call, as a JSON
    object or as JSON text. `empty`: the content of a message that has nothing but calls.
    """

    lists: bool = False
    image: str | None = None
    arguments: Literal["object", "text"] = "object"
    empty: Literal[""] | None = ""


def to_message(message: Message, form: Form, marker: str = "") -> dict[str, Any]:
    """Only what the message has: templates ask whether a key is defined.

    `marker` stands for a picture where the template takes none.
    """
    shape: dict[str, Any] = {"role": message.role, "content": _to_content(message, form, marker)}
    if message.reasoning is not None:
        # The second name is the one of gpt-oss; transformers gives both.
        shape["reasoning_content"] = shape["thinking"] = message.reasoning
    if message.tool_calls:
        shape["tool_calls"] = [_to_call(call, form) for call in message.tool_calls]
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


def _to_content(message: Message, form: Form, marker: str) -> str | list[dict[str, str]] | None:
    content = message.content
    if content == "" and message.tool_calls:
        return form.empty
    if not isinstance(content, str) and form.image is not None:
        return [_to_part(part) for part in content]
    (marked,) = mark_images((message,), marker)
    assert isinstance(marked.content, str)
    return [{"type": "text", "text": marked.content}] if form.lists else marked.content


def _to_part(part: TextPart | ImagePart) -> dict[str, str]:
    return {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}


def _to_call(call: ToolCall, form: Form) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _to_arguments(call.arguments, form)}
    return {"id": call.id, "type": "function", "function": function}


def _to_arguments(text: str, form: Form) -> Any:
    """Most templates write arguments with `tojson`, which would make a string of a string."""
    if form.arguments == "text":
        return text
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return text
    return _mend(value) if "\\u" in text else value


def _mend(value: Any) -> Any:
    """The same with U+FFFD for half surrogate pairs, which a model may write as escapes and no
    prompt can hold."""
    as_json = json.dumps(value, ensure_ascii=False)
    try:
        as_json.encode()
    except UnicodeEncodeError:
        return json.loads(as_json.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return value
