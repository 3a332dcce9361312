"""The events of a stream as types. It knows no generation.

Format: `ResponseStreamEvent` of OpenAI's reference. `sequence_number` counts a stream's events
from 0; `output_index` and `content_index` say which item, and which part of it, an event is about.
"""

from __future__ import annotations

import msgspec

from lmrun.api.responses.answers.bodies import (
    Logprob,
    OutputItem,
    OutputText,
    ReasoningText,
    ResponseBody,
)
from lmrun.api.sse import to_named_event


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them have."""

    sequence_number: int


class _AboutResponse(StreamEvent, frozen=True, kw_only=True):
    response: ResponseBody


class Created(_AboutResponse, frozen=True, tag_field="type", tag="response.created"):
    pass


class InProgress(_AboutResponse, frozen=True, tag_field="type", tag="response.in_progress"):
    pass


class Completed(_AboutResponse, frozen=True, tag_field="type", tag="response.completed"):
    pass


class Incomplete(_AboutResponse, frozen=True, tag_field="type", tag="response.incomplete"):
    pass


class Failed(_AboutResponse, frozen=True, tag_field="type", tag="response.failed"):
    pass


class Error(StreamEvent, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The stream ends without knowing what became of the response."""

    message: str
    code: str | None
    param: str | None


class _AboutItem(StreamEvent, frozen=True, kw_only=True):
    output_index: int


class ItemAdded(
    _AboutItem, frozen=True, kw_only=True, tag_field="type", tag="response.output_item.added"
):
    item: OutputItem


class ItemDone(
    _AboutItem, frozen=True, kw_only=True, tag_field="type", tag="response.output_item.done"
):
    item: OutputItem


class _InsideItem(_AboutItem, frozen=True, kw_only=True):
    item_id: str


class _AboutPart(_InsideItem, frozen=True, kw_only=True):
    content_index: int


class PartAdded(
    _AboutPart, frozen=True, kw_only=True, tag_field="type", tag="response.content_part.added"
):
    part: OutputText | ReasoningText


class PartDone(
    _AboutPart, frozen=True, kw_only=True, tag_field="type", tag="response.content_part.done"
):
    part: OutputText | ReasoningText


class TextDelta(
    _AboutPart, frozen=True, kw_only=True, tag_field="type", tag="response.output_text.delta"
):
    delta: str
    logprobs: tuple[Logprob, ...]


class TextDone(
    _AboutPart, frozen=True, kw_only=True, tag_field="type", tag="response.output_text.done"
):
    text: str
    logprobs: tuple[Logprob, ...]


class ReasoningDelta(
    _AboutPart, frozen=True, kw_only=True, tag_field="type", tag="response.reasoning_text.delta"
):
    delta: str


class ReasoningDone(
    _AboutPart, frozen=True, kw_only=True, tag_field="type", tag="response.reasoning_text.done"
):
    text: str


class ArgumentsDelta(
    _InsideItem,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="response.function_call_arguments.delta",
):
    delta: str


class ArgumentsDone(
    _InsideItem,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="response.function_call_arguments.done",
):
    """`name`: of the function, for clients that look at this event alone."""

    name: str
    arguments: str


class McpListInProgress(
    _InsideItem,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="response.mcp_list_tools.in_progress",
):
    pass


class McpListCompleted(
    _InsideItem,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="response.mcp_list_tools.completed",
):
    pass


class McpCallInProgress(
    _InsideItem, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.in_progress"
):
    """The tool runs."""


class McpArgumentsDelta(
    _InsideItem,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="response.mcp_call_arguments.delta",
):
    """All of them at once: whether a call is made is known when they are whole."""

    delta: str


class McpArgumentsDone(
    _InsideItem,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="response.mcp_call_arguments.done",
):
    arguments: str


class McpCallCompleted(
    _InsideItem, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.completed"
):
    pass


class McpCallFailed(
    _InsideItem, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.failed"
):
    pass


AnyEvent = (
    Created
    | InProgress
    | Completed
    | Incomplete
    | Failed
    | Error
    | ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | TextDelta
    | TextDone
    | ReasoningDelta
    | ReasoningDone
    | ArgumentsDelta
    | ArgumentsDone
    | McpListInProgress
    | McpListCompleted
    | McpCallInProgress
    | McpArgumentsDelta
    | McpArgumentsDone
    | McpCallCompleted
    | McpCallFailed
)

_encode = msgspec.json.Encoder().encode


def show(*events: StreamEvent) -> bytes:
    """Events on the wire, each with its type as its name, too."""
    return b"".join(
        to_named_event(str(event.__struct_config__.tag), _encode(event)) for event in events
    )
