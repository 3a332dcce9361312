"""What somebody wants done by a durable run, and what is known of it. It knows no door."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from lmrun.chat.events import StopReason, Usage
from lmrun.chat.messages import Message
from lmrun.tools.policy.gate import Question

RunState = Literal["running", "interrupted", "completed", "failed", "cancelled"]
"""`interrupted`: lmrun was ended in its midst; it can be resumed, as can a `failed` one."""


class LimitsChoice(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Limits that a request chooses, see `Limits`. None: what the agent has, or the usual. An
    agent's own cannot be raised."""

    max_rounds: int | None = None
    parallel_calls: int | None = None
    calls: int | None = None
    tokens: int | None = None
    time_s: float | None = None
    identical_calls: int | None = None
    invalid_calls: int | None = None


class ActRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A task. Just one of `model`, a key or an identifier, and `agent`; `tools`: patterns, like
    `add` or `mcp/time/*`, of a model's tools; an agent has its own.

    `prediction`: fields of PredictionConfig. `idempotency_key`: asked again with it, the same
    caller gets the same run. `background`: it goes on without followers, and after a restart;
    otherwise it is cancelled when its last follower leaves and, with a key, does not come back
    soon. `approvals`: somebody answers its questions; otherwise what has to be asked is denied.
    `elicitations`: somebody answers those of MCP servers while it has a call at one.
    `preset`: of a model, a preset of the profile or `mcp/<server>/<prompt>`; an agent has its own.
    `context`: resources of MCP servers, `mcp/<server>/<uri>`, beside an agent's own.
    """

    messages: tuple[Message, ...]
    model: str | None = None
    agent: str | None = None
    tools: tuple[str, ...] = ()
    limits: LimitsChoice = LimitsChoice()
    prediction: dict[str, Any] = msgspec.field(default_factory=dict)
    idempotency_key: str | None = None
    background: bool = False
    approvals: bool = False
    elicitations: bool = False
    preset: str | None = None
    context: tuple[str, ...] = ()


class RunFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a run failed: the error's code, message and hint. `budget`: the one that is used up."""

    code: str
    message: str
    hint: str | None = None
    budget: str | None = None


class RunSummary(msgspec.Struct, frozen=True):
    """One run among others. `task`: how its last user message begins. Times are seconds since
    1970; `updated_at`: of its last step. `questions`: how many of its calls wait for a reply."""

    id: str
    state: RunState
    model: str
    agent: str | None
    door: str
    key: str | None
    background: bool
    created_at: float
    updated_at: float
    task: str
    questions: int = 0


class RunDetail(msgspec.Struct, frozen=True):
    """One run, whole. `messages`: the conversation so far, the request's included. `text` and
    `stop_reason`: the answer's, None until it has one. `questions`: those that wait for a reply."""

    summary: RunSummary
    rounds: int
    calls: int
    usage: Usage
    messages: tuple[Message, ...]
    text: str | None = None
    stop_reason: StopReason | None = None
    failure: RunFailure | None = None
    questions: tuple[Question, ...] = ()
