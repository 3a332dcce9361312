"""What requests about runs say, and what is answered. It knows no run.

Tools are named as the profile declares them: no field can say what is started.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from lmrun.api.fields import SAYS_ALL
from lmrun.chat.messages import Message
from lmrun.errors import InvalidParameter
from lmrun.profile.tooling.policy import Patterns
from lmrun.profile.tooling.references import MAX_CONTEXT, MAX_REFERENCE
from lmrun.settings.base import Settings
from lmrun.settings.bounds import ModelName
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.requests import ActRequest, LimitsChoice

MAX_MESSAGES = 4096
MAX_KEY_LENGTH = 200

IdempotencyKey = Annotated[str, Field(min_length=1, max_length=MAX_KEY_LENGTH)]


class RunMessage(Settings):
    """A message of the conversation that a run begins with."""

    role: Literal["system", "user", "assistant"]
    content: str


class RunLimits(Settings):
    """When a run ends though it is not done. Left out: what the agent has, or the usual; an agent's
    own cannot be raised."""

    max_rounds: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Answers of the model; the last one is offered no tools."
    )
    parallel_calls: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="Calls of one round that run at a time."
    )
    calls: Annotated[int, Field(ge=0, le=10_000)] | None = Field(None, description="Tool calls.")
    tokens: Annotated[int, Field(ge=1, lt=2**53)] | None = Field(
        None, description="Tokens that the model writes, of all rounds together."
    )
    time_s: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None, description="Seconds from start to end, without those in which somebody is asked."
    )
    identical_calls: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Calls of one tool with the same arguments."
    )
    invalid_calls: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="Calls in a row that no tool can take; the model reads what was wrong."
    )


class ActBody(Settings):
    """The body of POST /lmrun/v1/act."""

    model: ModelName | None = Field(
        None, description="A model, by key or identifier; or name an `agent`."
    )
    agent: ModelName | None = Field(None, description="An agent of the profile.")
    tools: Patterns = Field(
        (), description="The profile's tools that a model may call: `add`, `mcp/time/*`."
    )
    preset: Annotated[str, Field(min_length=1, max_length=MAX_REFERENCE)] | None = Field(
        None,
        description="For a model: a preset of the profile, or a prompt of one of its MCP servers "
        "that has no blanks, `mcp/<server>/<prompt>`.",
    )
    context: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=MAX_REFERENCE)], ...],
        Field(max_length=MAX_CONTEXT, strict=False),
    ] = Field(
        (),
        description="Resources of the profile's MCP servers, `mcp/<server>/<uri>`, put before the "
        "task.",
    )
    prompt: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The task; or send `messages`."
    )
    messages: Annotated[
        tuple[RunMessage, ...] | None, Field(min_length=1, max_length=MAX_MESSAGES, strict=False)
    ] = Field(None, description="A conversation that ends with the task.")
    limits: RunLimits = Field(RunLimits(), description="When it ends though it is not done.")
    prediction: PredictionConfig = Field(
        default_factory=PredictionConfig,
        description="Prediction settings, as a preset of the profile has them.",
    )
    idempotency_key: IdempotencyKey | None = Field(
        None,
        description="Sent again with it, the same request is the same run; also the header "
        "`idempotency-key`.",
    )
    background: bool = Field(
        False,
        description="It goes on when the client has left, and after a restart; without `stream` "
        "the answer comes at once.",
    )
    approvals: bool = Field(
        False,
        description="Somebody answers the questions of its `tool_call.approval` events; else what "
        "would have to be asked is denied. Needs an API key, or the unix socket.",
    )
    elicitations: bool = Field(
        False,
        description="Somebody answers what MCP servers ask while it has a call at one, in its "
        "`elicitation.asked` events. Only over the unix socket.",
    )
    stream: bool = Field(False, description="Its events as they come.")

    @model_validator(mode="after")
    def _has_one_task(self) -> ActBody:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError(SAYS_ALL, "the task comes in `prompt` or in `messages`")
        if (self.model is None) == (self.agent is None):
            raise PydanticCustomError(SAYS_ALL, "it is done by a `model` or by an `agent`")
        return self


class ResumeBody(Settings):
    """The body of POST /lmrun/v1/act/{id}/resume."""

    approvals: bool = Field(False, description="Somebody answers its questions.")
    elicitations: bool = Field(False, description="Somebody answers those of MCP servers.")
    stream: bool = Field(False, description="Its events, those from before included.")


class CancelBody(Settings):
    """The body of POST /lmrun/v1/act/{id}/cancel: an empty object."""


class ApproveBody(Settings):
    """The body of POST /lmrun/v1/act/{id}/approve."""

    call: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        description="The `id` of the question."
    )
    reply: Literal["once", "session", "always", "no"] = Field(
        description="`session`: calls of this tool with these arguments until the run ends; "
        "`always`: in later runs, too."
    )


class Approved(msgspec.Struct, frozen=True):
    """The reply has reached its run."""

    call: str
    reply: Literal["once", "session", "always", "no"]


def to_act_request(body: ActBody, header_keys: tuple[str, ...]) -> ActRequest:
    """The house's own. `header_keys`: what the header `idempotency-key` says, as often as it came.

    Raises InvalidParameter for keys that are none, or that differ.
    """
    messages = body.messages or (RunMessage(role="user", content=body.prompt or ""),)
    chosen = body.limits.model_dump(exclude_none=True)
    prediction: dict[str, Any] = body.prediction.model_dump(mode="json", exclude_unset=True)
    return ActRequest(
        messages=tuple(Message(message.role, message.content) for message in messages),
        model=body.model,
        agent=body.agent,
        tools=body.tools,
        limits=LimitsChoice(**chosen),
        prediction=prediction,
        idempotency_key=_choose_key(body.idempotency_key, header_keys),
        background=body.background,
        approvals=body.approvals,
        preset=body.preset,
        context=body.context,
        elicitations=body.elicitations,
    )


def _choose_key(in_body: str | None, in_headers: tuple[str, ...]) -> str | None:
    keys = {key.strip() for key in in_headers} | ({in_body} if in_body is not None else set())
    if len(keys) > 1:
        raise InvalidParameter(
            "`idempotency_key`: the request names several different keys; send one.",
            param="idempotency_key",
        )
    key = next(iter(keys), None)
    if key is not None and not 0 < len(key) <= MAX_KEY_LENGTH:
        raise InvalidParameter(
            f"`idempotency-key`: it has 1 to {MAX_KEY_LENGTH} characters.", param="idempotency_key"
        )
    return key
