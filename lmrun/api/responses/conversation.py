"""Items as the messages of one conversation. Pure: it knows no request and no store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from lmrun.api.responses.requests.items import (
    CallItem,
    CallOutputItem,
    Item,
    McpApprovalRequestItem,
    McpApprovalResponseItem,
    McpCallItem,
    McpListItem,
    MessageItem,
    ReasoningItem,
)
from lmrun.api.responses.requests.parts import InputImage, to_content
from lmrun.chat.messages import Message, ToolCall
from lmrun.errors import InvalidParameter
from lmrun.profile.tooling.naming import mcp_name

_BESIDES = (
    CallItem,
    McpListItem,
    McpCallItem,
    McpApprovalRequestItem,
    McpApprovalResponseItem,
)
"""Items that end no assistant's message."""


@dataclass(slots=True)
class _Draft:
    """An assistant's message that may go on: one answer comes as several items."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)

    @property
    def is_begun(self) -> bool:
        return bool(self.texts or self.thoughts or self.calls)

    def take(self, item: Item) -> None:
        """What an assistant thought, said, or had a server do."""
        match item:
            case ReasoningItem():
                self.thoughts.append(_read_thought(item))
            case MessageItem():
                self.texts.append(str(to_content(item.content)))
            case McpCallItem(id=id) if item.output is not None or item.error is not None:
                self.add_call(id or f"mcp_{len(self.calls)}", item, _read_result(item))

    def add_call(self, id: str, call: McpCallItem | McpApprovalRequestItem, result: str) -> None:
        """A call of a server's tool, and what the model read of it."""
        name = mcp_name(call.server_label, call.name)
        self.calls.append(ToolCall(id, name, show_arguments(call.arguments)))
        self.results.append(Message("tool", result, tool_call_id=id, name=name))

    def to_messages(self) -> list[Message]:
        message = Message(
            "assistant",
            "\n".join(self.texts),
            reasoning="\n".join(self.thoughts) or None,
            tool_calls=tuple(self.calls),
        )
        return [message, *self.results]


def to_messages(items: Iterable[Item], instructions: str | None) -> tuple[Message, ...]:
    """The conversation. `instructions` come first, together with the system messages that the
    items begin with: many templates take one such message only.

    What an assistant thought, said and called in one answer is one message. A call that waited for
    an approval is in it if nobody has answered; one that was answered is not: it is made, or was.
    Raises InvalidParameter for the output of a call that was not made.
    """
    items = tuple(items)
    answered = {it.approval_request_id for it in items if isinstance(it, McpApprovalResponseItem)}
    messages: list[Message] = []
    draft = _Draft()
    names: dict[str, str] = {}
    for item in items:
        if _ends(draft, item):
            messages += draft.to_messages()
            draft = _Draft()
        match item:
            case CallItem():
                names[item.call_id] = item.name
                draft.calls.append(ToolCall(item.call_id, item.name, item.arguments))
            case McpApprovalRequestItem() if item.id not in answered:
                draft.add_call(item.id, item, "denied: nobody has approved of it")
            case MessageItem() if item.role != "assistant":
                messages.append(_to_message(item))
            case CallOutputItem():
                messages.append(_to_result(item, names))
            case _:
                draft.take(item)
    if draft.is_begun:
        messages += draft.to_messages()
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


@dataclass(frozen=True, slots=True)
class Approved:
    """A call about which the client was asked, and its answer. It has not been made yet."""

    request: McpApprovalRequestItem
    is_approved: bool
    reason: str | None


def find_answered(items: Iterable[Item]) -> tuple[Approved, ...]:
    """The calls that the client has just decided on, in the order in which the model made them.

    Raises InvalidParameter for an answer to what was not asked, or was asked and answered before.
    """
    items = tuple(items)
    asked = {it.id: it for it in items if isinstance(it, McpApprovalRequestItem)}
    made = {it.approval_request_id for it in items if isinstance(it, McpCallItem)}
    answers: dict[str, McpApprovalResponseItem] = {}
    for item in items:
        if isinstance(item, McpApprovalResponseItem):
            id = item.approval_request_id
            if id not in asked or id in answers:
                what = "has been answered" if id in answers else "is not there"
                raise InvalidParameter(
                    f"`input`: the mcp_approval_request {id!r} {what}.",
                    param="input",
                    hint="Send it, too, or name its response in `previous_response_id`.",
                )
            answers[id] = item
    return tuple(
        Approved(asked[id], answer.approve, answer.reason)
        for id in asked
        if id not in made and (answer := answers.get(id)) is not None
    )


def show_arguments(arguments: str) -> str:
    """As a chat template can show them: an object."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        value = None
    return arguments if isinstance(value, dict) else "{}"


def _read_result(item: McpCallItem) -> str:
    """What the model read of a call."""
    if item.output is not None:
        return item.output
    error = item.error
    content = error.get("content", error.get("message")) if isinstance(error, dict) else error
    if isinstance(content, list):
        texts = (it.get("text", "") for it in content if isinstance(it, dict))
        return "\n".join(map(str, texts))
    return content if isinstance(content, str) else json.dumps(content)


def _ends(draft: _Draft, item: Item) -> bool:
    """Whether `item` is no part of the message that was begun."""
    if not draft.is_begun:
        return False
    if isinstance(item, _BESIDES):
        return False
    if draft.results and isinstance(item, ReasoningItem | MessageItem):
        return True
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
