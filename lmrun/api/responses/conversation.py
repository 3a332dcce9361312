"""Items as the messages of one conversation. Pure: it knows no request and no store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lmrun.api.responses.requests.items import (
    CallItem,
    CallOutputItem,
    Item,
    MessageItem,
    ReasoningItem,
)
from lmrun.api.responses.requests.parts import InputImage, to_content
from lmrun.chat.messages import Message, ToolCall
from lmrun.errors import InvalidParameter


@dataclass(slots=True)
class _Draft:
    """An assistant's message that may go on: one answer comes as several items."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def is_begun(self) -> bool:
        return bool(self.texts or self.thoughts or self.calls)

    def to_message(self) -> Message:
        return Message(
            "assistant",
            "\n".join(self.texts),
            reasoning="\n".join(self.thoughts) or None,
            tool_calls=tuple(self.calls),
        )


def to_messages(items: Iterable[Item], instructions: str | None) -> tuple[Message, ...]:
    """The conversation. `instructions` come first, together with the system messages that the
    items begin with: many templates take one such message only.

    What an assistant thought, said and called in one answer is one message. Raises
    InvalidParameter for the output of a call that was not made.
    """
    messages: list[Message] = []
    draft = _Draft()
    names: dict[str, str] = {}
    for item in items:
        if _ends(draft, item):
            messages.append(draft.to_message())
            draft = _Draft()
        match item:
            case ReasoningItem():
                draft.thoughts.append(_read_thought(item))
            case CallItem():
                names[item.call_id] = item.name
                draft.calls.append(ToolCall(item.call_id, item.name, item.arguments))
            case MessageItem(role="assistant"):
                draft.texts.append(str(to_content(item.content)))
            case MessageItem():
                messages.append(_to_message(item))
            case CallOutputItem():
                messages.append(_to_result(item, names))
    if draft.is_begun:
        messages.append(draft.to_message())
    return _instruct(messages, instructions)


def locate_images(items: Iterable[Item]) -> list[str]:
    """Where each image is, as `input[0].content[1].image_url`."""
    return [
        f"input[{i}].content[{j}].image_url"
        for i, item in enumerate(items)
        if isinstance(item, MessageItem)
        for j, part in enumerate(item.content)
        if isinstance(part, InputImage)
    ]


def _ends(draft: _Draft, item: Item) -> bool:
    """Whether `item` is no part of the message that was begun."""
    if not draft.is_begun:
        return False
    if isinstance(item, CallItem):
        return False
    if isinstance(item, ReasoningItem):
        return bool(draft.texts or draft.calls)
    if isinstance(item, MessageItem) and item.role == "assistant":
        return bool(draft.texts) and not draft.calls
    return True


def _to_message(item: MessageItem) -> Message:
    content = to_content(item.content)
    return Message("user" if item.role == "user" else "system", content)


def _to_result(item: CallOutputItem, names: dict[str, str]) -> Message:
    if item.call_id not in names:
        raise InvalidParameter(
            f"`input`: there is no function_call {item.call_id!r} before its output.",
            param="input",
            hint="Send the call, too, or name the response that made it in `previous_response_id`.",
        )
    return Message(
        "tool",
        to_content(item.output),
        tool_call_id=item.call_id,
        name=names[item.call_id],
    )


def _read_thought(item: ReasoningItem) -> str:
    pieces = item.content or item.summary
    return "\n".join(piece.text for piece in pieces)


def _instruct(messages: list[Message], instructions: str | None) -> tuple[Message, ...]:
    if instructions is None:
        return tuple(messages)
    count = next((n for n, each in enumerate(messages) if each.role != "system"), len(messages))
    texts = [instructions, *(str(message.content) for message in messages[:count])]
    return (Message("system", "\n\n".join(texts)), *messages[count:])
