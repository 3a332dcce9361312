"""What a run says while it goes on: a generation's events, and what is around them."""

from __future__ import annotations

from typing import Literal

import msgspec

from lmrun.chat.events import (
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    StopReason,
    ToolCallArguments,
    ToolCallStart,
    Usage,
)
from lmrun.tools.mcp.reports import ElicitationEvent
from lmrun.tools.policy.gate import Question
from lmrun.tools.tool import ErrorKind

Budget = Literal["calls", "tokens", "time", "identical_calls", "invalid_calls"]


class RoundStart(msgspec.Struct, frozen=True, tag="round.start"):
    """The model is asked again. `round`: 0 for the first; `is_last`: it is offered no tools."""

    round: int
    is_last: bool


class RoundEnd(msgspec.Struct, frozen=True, tag="round.end"):
    """The model's answer of this round is complete, and so are the calls that it asked for."""

    round: int
    usage: Usage


class ApprovalNeeded(msgspec.Struct, frozen=True, tag="tool_call.approval"):
    """Somebody is asked about the call of `index`; before the first round, about the resource of
    that place that is to be read."""

    index: int
    question: Question


class CallProgress(msgspec.Struct, frozen=True, omit_defaults=True, tag="tool_call.progress"):
    """The tool of this call says how far it is."""

    index: int
    id: str
    progress: float
    total: float | None = None
    message: str | None = None


class CallSucceeded(msgspec.Struct, frozen=True, tag="tool_call.success"):
    """The tool was run. `text`: what the model reads."""

    index: int
    id: str
    name: str
    text: str
    seconds: float


class CallFailed(msgspec.Struct, frozen=True, tag="tool_call.failure"):
    """There is no good result. `text`: what the model reads instead."""

    index: int
    id: str
    name: str
    error: ErrorKind
    text: str
    seconds: float = 0.0


class ActEnd(msgspec.Struct, frozen=True, tag="act.end"):
    """The last event of a run that came to an answer. `text`: that of the last round; `usage`: of
    all rounds together."""

    text: str
    stop_reason: StopReason
    rounds: int
    calls: int
    usage: Usage


ActEvent = (
    RoundStart
    | PromptProgress
    | ReasoningDelta
    | MessageDelta
    | ToolCallStart
    | ToolCallArguments
    | ApprovalNeeded
    | CallProgress
    | CallSucceeded
    | CallFailed
    | RoundEnd
    | ActEnd
)
"""A run's vocabulary, LM Studio's names where it has them. Indices of calls count within a
round."""

Told = ActEvent | ElicitationEvent
"""What followers of a run hear: what it says, and what MCP servers ask, perhaps on its behalf."""
