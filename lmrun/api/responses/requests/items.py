"""What `input` is made of: messages, calls and their outputs, reasoning. It knows no other
parameter.

Format: `ResponseInputItem` of OpenAI's reference; an answer's own output items are valid input.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from lmrun.api.fields import NO_EFFECT, only
from lmrun.api.responses.requests.kinds import OneOf, OrText
from lmrun.api.responses.requests.parts import MAX_PARTS, Content, Holder
from lmrun.api.tool_choice import ToolName
from lmrun.profile.tooling.mcp import McpServerName, McpToolName
from lmrun.settings.base import Settings

MAX_ITEMS = 4096

Id = Annotated[str, Field(min_length=1, max_length=256)]
Status = Annotated[
    Literal["in_progress", "completed", "incomplete"] | None,
    Field(json_schema_extra=NO_EFFECT, description="What is there is taken as it is."),
]


class MessageItem(Holder):
    """One message. `developer` is the newer name of `system`."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    id: Id | None = None
    status: Status = None
    phase: Literal["commentary", "final_answer"] | None = Field(
        None, json_schema_extra=NO_EFFECT, description="Chat templates have no place for it."
    )


class CallItem(Settings):
    """A call that the model made. `arguments`: JSON text, as it wrote it."""

    type: Literal["function_call"]
    call_id: Id
    name: ToolName
    arguments: str
    id: Id | None = None
    status: Status = None
    is_async: Annotated[Any, only(False)] = Field(None, alias="async")
    caller: Annotated[Any, only({"type": "direct"})] = None
    namespace: Annotated[Any, only()] = None


class CallOutputItem(Holder):
    """What a call gave."""

    type: Literal["function_call_output"]
    call_id: Id
    output: Content
    id: Id | None = None
    status: Status = None
    name: Annotated[str, Field(max_length=64)] | None = Field(
        None, json_schema_extra=NO_EFFECT, description="The call has the name."
    )
    caller: Annotated[Any, only({"type": "direct"})] = None
    namespace: Annotated[Any, only()] = None


class ThoughtText(Settings):
    """A piece of what a model thought."""

    type: Literal["reasoning_text"]
    text: str


class SummaryText(Settings):
    """A piece of a summary of what a model thought."""

    type: Literal["summary_text"]
    text: str


class ReasoningItem(Settings):
    """What a model thought: the text itself, or else a summary of it."""

    type: Literal["reasoning"]
    id: Id | None = None
    content: Annotated[tuple[ThoughtText, ...], Field(max_length=MAX_PARTS, strict=False)] | (
        None
    ) = None
    summary: Annotated[tuple[SummaryText, ...], Field(max_length=MAX_PARTS, strict=False)] = ()
    encrypted_content: Annotated[Any, only()] = Field(
        None, description="Only its own maker can read it."
    )
    status: Status = None


class McpListItem(Settings):
    """Tools that a server had. What it has now is what counts."""

    type: Literal["mcp_list_tools"]
    id: Id | None = None
    server_label: McpServerName
    tools: list[dict[str, Any]] = Field(json_schema_extra=NO_EFFECT)
    error: str | None = Field(None, json_schema_extra=NO_EFFECT)


class McpCallItem(Settings):
    """A call of a server's tool that was made, or refused."""

    type: Literal["mcp_call"]
    id: Id | None = None
    server_label: McpServerName
    name: McpToolName
    arguments: str
    output: str | None = None
    error: Any = None
    approval_request_id: Id | None = None
    status: Literal["in_progress", "completed", "incomplete", "calling", "failed"] | None = None


class McpApprovalRequestItem(Settings):
    """A call that waits for the client's approval."""

    type: Literal["mcp_approval_request"]
    id: Id
    server_label: McpServerName
    name: McpToolName
    arguments: str


class McpApprovalResponseItem(Settings):
    """The client's answer to such a request."""

    type: Literal["mcp_approval_response"]
    id: Id | None = None
    approval_request_id: Id
    approve: bool
    reason: Annotated[str, Field(max_length=4096)] | None = None


Item = (
    MessageItem
    | CallItem
    | CallOutputItem
    | ReasoningItem
    | McpListItem
    | McpCallItem
    | McpApprovalRequestItem
    | McpApprovalResponseItem
)

_ITEMS = OneOf(
    {
        "message": MessageItem,
        "function_call": CallItem,
        "function_call_output": CallOutputItem,
        "reasoning": ReasoningItem,
        "mcp_list_tools": McpListItem,
        "mcp_call": McpCallItem,
        "mcp_approval_request": McpApprovalRequestItem,
        "mcp_approval_response": McpApprovalResponseItem,
    },
    instead="only messages, function and MCP calls, their outputs and approvals, and reasoning are",
    default="message",
)


def _wrap_text(text: str) -> Any:
    return ({"type": "message", "role": "user", "content": text},)


Items = Annotated[
    tuple[Annotated[Item, _ITEMS], ...],
    Field(max_length=MAX_ITEMS, strict=False),
    OrText(_wrap_text),
]
"""A string, which is one user's message, or items."""
