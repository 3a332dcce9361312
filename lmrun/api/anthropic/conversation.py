"""A conversation in Anthropic's notation → the house's messages. Pure; it knows no other parameter.

A tool's result is a message of its own here. Pictures in one follow it in a user's message, since
only there do vision models look for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from lmrun.api.anthropic.blocks.calls import ThinkingBlock, ToolResultBlock, ToolUseBlock
from lmrun.api.anthropic.blocks.content import TextBlock, join_text
from lmrun.api.anthropic.blocks.media import to_parts
from lmrun.api.anthropic.messages import AnyMessage, AssistantMessage, SystemMessage, UserMessage
from lmrun.api.anthropic.order import check_order, check_results
from lmrun.chat.messages import ImagePart, Message, TextPart, ToolCall

BILLING_HEADER = "x-anthropic-billing-header:"
"""Begins a block of `system` in which coding agents tell Anthropic whom to bill. It differs in each
request, so that no prompt would have a beginning in common with the one before."""

_ERROR = "Error: "

Located = tuple[TextPart | ImagePart, str]
"""A part, and the parameter that it came in."""


@dataclass(slots=True)
class Converted:
    """`messages`, and for each image in them, in their order, the parameter that holds it."""

    messages: list[Message] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


def convert_messages(system: Sequence[TextBlock], messages: Sequence[AnyMessage]) -> Converted:
    """The conversation, messages of one role that follow each other joined.

    Raises InvalidParameter for an order that makes no conversation, and for calls and results that
    do not belong together; UnsupportedParameter for an answer that is begun already.
    """
    check_order(messages)
    check_results(messages)
    converted = Converted()
    instructions = to_system(system)
    if instructions:
        converted.messages.append(Message("system", instructions))
    for index, message in enumerate(messages):
        for next_message in _convert(message, f"messages[{index}]", converted):
            _append(converted.messages, next_message)
    return converted


def to_system(system: Sequence[TextBlock]) -> str:
    """The system prompt, without what is meant for Anthropic's accounting."""
    return join_text(tuple(block for block in system if not block.text.startswith(BILLING_HEADER)))


def _convert(message: AnyMessage, where: str, converted: Converted) -> list[Message]:
    match message:
        case UserMessage():
            return _convert_user(message, where, converted)
        case AssistantMessage():
            return [_convert_assistant(message)]
        case SystemMessage():
            return [Message("system", join_text(message.content))]


def _convert_user(message: UserMessage, where: str, converted: Converted) -> list[Message]:
    """Its results and the rest in their order."""
    names = _name_calls(converted.messages)
    messages: list[Message] = []
    parts: list[Located] = []
    pictures: list[Located] = []
    for index, block in enumerate(message.content):
        inside = f"{where}.content[{index}]"
        if isinstance(block, ToolResultBlock):
            _flush(parts, messages, converted)
            result, found = _convert_result(block, inside, names)
            messages.append(result)
            pictures += found
        else:
            parts += [*pictures, *((part, inside + rest) for part, rest in to_parts(block))]
            pictures = []
    parts += pictures
    _flush(parts, messages, converted)
    return messages or [Message("user", "")]


def _flush(parts: list[Located], messages: list[Message], converted: Converted) -> None:
    """Make a message of `parts`, if there are any."""
    if parts:
        converted.images += [where for part, where in parts if isinstance(part, ImagePart)]
        messages.append(Message("user", _to_content([part for part, _ in parts])))
        parts.clear()


def _convert_result(
    block: ToolResultBlock, where: str, names: dict[str, str]
) -> tuple[Message, list[Located]]:
    """A tool's message, and the pictures that do not fit into it."""
    located = [
        (part, f"{where}.content[{index}]{rest}")
        for index, inner in enumerate(block.content or ())
        for part, rest in to_parts(inner)
    ]
    text = "\n".join(part.text for part, _ in located if isinstance(part, TextPart))
    message = Message(
        "tool",
        _ERROR + text if block.is_error else text,
        tool_call_id=block.tool_use_id,
        name=names.get(block.tool_use_id),
    )
    return message, [(part, at) for part, at in located if isinstance(part, ImagePart)]


def _convert_assistant(message: AssistantMessage) -> Message:
    thoughts = [it.thinking for it in message.content if isinstance(it, ThinkingBlock)]
    return Message(
        "assistant",
        "\n".join(it.text for it in message.content if isinstance(it, TextBlock)),
        reasoning="\n".join(thoughts) or None,
        tool_calls=tuple(
            ToolCall(it.id, it.name, json.dumps(it.input, ensure_ascii=False))
            for it in message.content
            if isinstance(it, ToolUseBlock)
        ),
    )


def _name_calls(messages: Sequence[Message]) -> dict[str, str]:
    """The tools of the calls that were made last, by the calls' ids."""
    last = next((it for it in reversed(messages) if it.role == "assistant"), None)
    return {call.id: call.name for call in last.tool_calls} if last is not None else {}


def _append(messages: list[Message], message: Message) -> None:
    """Put it behind the others, or into the last one if the same role goes on."""
    last = messages[-1] if messages else None
    if last is None or last.role != message.role or message.role not in ("user", "assistant"):
        messages.append(message)
        return
    messages[-1] = msgspec.structs.replace(
        last,
        content=_to_content([*_list_parts(last), *_list_parts(message)]),
        reasoning="\n".join(filter(None, (last.reasoning, message.reasoning))) or None,
        tool_calls=last.tool_calls + message.tool_calls,
    )


def _list_parts(message: Message) -> list[TextPart | ImagePart]:
    if not isinstance(message.content, str):
        return list(message.content)
    return [TextPart(message.content)] if message.content else []


def _to_content(parts: Sequence[TextPart | ImagePart]) -> str | tuple[TextPart | ImagePart, ...]:
    """Text where there is nothing else."""
    if any(isinstance(part, ImagePart) for part in parts):
        return tuple(parts)
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))
