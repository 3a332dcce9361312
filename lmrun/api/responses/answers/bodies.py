"""The bodies of answers, and the items that they are made of, as types. It knows no generation.

Format: `Response` and `ResponseOutputItem` of OpenAI's reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from lmrun.chat.events import TokenLogprob
from lmrun.chat.events import Usage as ChatUsage

Status = Literal["in_progress", "completed", "incomplete"]
"""Of an item."""

LEAST_LOGPROB = -9999.0
"""What OpenAI says for "very unlikely"; JSON has no infinity."""


class TopLogprob(msgspec.Struct, frozen=True):
    """`bytes`: the token's own, since part of a character has no text."""

    token: str
    bytes: tuple[int, ...]
    logprob: float


class Logprob(msgspec.Struct, frozen=True):
    token: str
    bytes: tuple[int, ...]
    logprob: float
    top_logprobs: tuple[TopLogprob, ...]


class OutputText(msgspec.Struct, frozen=True, tag_field="type", tag="output_text"):
    """`logprobs`: empty unless asked for."""

    text: str
    logprobs: tuple[Logprob, ...] = ()
    annotations: tuple[()] = ()


class OutputMessage(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    id: str
    status: Status
    content: tuple[OutputText, ...]
    role: Literal["assistant"] = "assistant"


class ReasoningText(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning_text"):
    text: str


class Reasoning(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """What the model thought, as it is: there is no summary."""

    id: str
    status: Status
    content: tuple[ReasoningText, ...]
    summary: tuple[()] = ()
    encrypted_content: None = None


class FunctionCall(msgspec.Struct, frozen=True, tag_field="type", tag="function_call"):
    """`arguments`: JSON text; cut off where the answer was."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


class ListedTool(msgspec.Struct, frozen=True):
    """A tool of an MCP server, under its own name."""

    name: str
    description: str | None
    input_schema: dict[str, Any]
    annotations: None = None


class McpListTools(msgspec.Struct, frozen=True, tag_field="type", tag="mcp_list_tools"):
    """What a server offers to the model."""

    id: str
    server_label: str
    tools: tuple[ListedTool, ...]
    error: str | None = None


class McpText(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class McpCallError(msgspec.Struct, frozen=True, tag_field="type", tag="mcp_tool_execution_error"):
    """Why a call has no good result, as the model reads it."""

    content: tuple[McpText, ...]


class McpCall(msgspec.Struct, frozen=True, tag_field="type", tag="mcp_call"):
    """A call of a server's tool. `arguments`: JSON text; `output`: what the model reads."""

    id: str
    server_label: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed", "failed"]
    output: str | None = None
    error: McpCallError | None = None
    approval_request_id: str | None = None


class McpApprovalRequest(msgspec.Struct, frozen=True, tag_field="type", tag="mcp_approval_request"):
    """A call that waits until the client approves of it."""

    id: str
    server_label: str
    name: str
    arguments: str


OutputItem = OutputMessage | Reasoning | FunctionCall | McpListTools | McpCall | McpApprovalRequest


class InputTokensDetails(msgspec.Struct, frozen=True):
    """`cached_tokens`: not computed again. Nothing is charged for what is written to the cache."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct, frozen=True):
    """`reasoning_tokens`: how many the text of the reasoning has."""

    reasoning_tokens: int


class Usage(msgspec.Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct, frozen=True):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class Failure(msgspec.Struct, frozen=True):
    """`code`: one of OpenAI's; `type`: ours, which says more."""

    message: str
    type: str
    param: str | None
    code: Literal["server_error"] = "server_error"


class ResponseBody(msgspec.Struct, frozen=True, kw_only=True):
    """A response. Times in seconds since 1970. What the request left open shows what was used."""

    id: str
    created_at: int
    model: str
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
    completed_at: int | None = None
    error: Failure | None = None
    incomplete_details: IncompleteDetails | None = None
    output: tuple[OutputItem, ...] = ()
    usage: Usage | None = None
    instructions: str | None
    previous_response_id: str | None
    tools: list[dict[str, Any]]
    tool_choice: Any
    parallel_tool_calls: bool
    reasoning: dict[str, Any]
    text: dict[str, Any]
    truncation: Literal["auto", "disabled"]
    temperature: float
    top_p: float
    top_logprobs: int
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    store: bool
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    background: Literal[False] = False
    service_tier: Literal["default"] = "default"
    object: Literal["response"] = "response"


class Deleted(msgspec.Struct, frozen=True):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ItemList(msgspec.Struct, frozen=True):
    """A page of items. The ids are null when it is empty."""

    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class InputTokens(msgspec.Struct, frozen=True):
    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


def to_usage(usage: ChatUsage, reasoning_tokens: int) -> Usage:
    """`reasoning_tokens`: of the reasoning's text, which may be more than the model wrote."""
    return Usage(
        usage.prompt_tokens,
        InputTokensDetails(usage.cached_tokens),
        usage.completion_tokens,
        OutputTokensDetails(min(reasoning_tokens, usage.completion_tokens)),
        usage.prompt_tokens + usage.completion_tokens,
    )


def to_logprobs(tokens: Sequence[TokenLogprob]) -> tuple[Logprob, ...]:
    return tuple(
        Logprob(
            _to_text(token),
            tuple(token.piece),
            _clamp(token),
            tuple(TopLogprob(_to_text(top), tuple(top.piece), _clamp(top)) for top in token.top),
        )
        for token in tokens
    )


def _to_text(token: TokenLogprob) -> str:
    return token.piece.decode(errors="replace")


def _clamp(token: TokenLogprob) -> float:
    return LEAST_LOGPROB if token.logprob is None else max(token.logprob, LEAST_LOGPROB)
