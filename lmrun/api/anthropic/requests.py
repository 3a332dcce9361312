"""The bodies of Anthropic's requests: what is honoured, and what is known but refused.

Every parameter of the reference is a field here, those of its beta, too. One that cannot be
honoured takes only the values with which it changes nothing (`only`), its description says why.
Anything else is unknown. It knows no model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from lmrun.api.anthropic.blocks.content import CacheControl, Text
from lmrun.api.anthropic.messages import Messages
from lmrun.api.anthropic.thinking import Effort, ThinkingConfig
from lmrun.api.anthropic.tools import Choice, Tools
from lmrun.api.fields import EFFECT, NO_EFFECT, NOT_YET, only
from lmrun.settings.base import Settings
from lmrun.settings.bounds import Count, Determinism, Share, Strength
from lmrun.settings.prediction import MAX_STOP_STRING_LENGTH, MAX_STOP_STRINGS

_KEEP_ALL = {"type": "clear_thinking_20251015", "keep": "all"}


class JsonFormat(Settings):
    """JSON that satisfies a schema; it is enforced."""

    type: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema", description="A JSON schema.")


class OutputConfig(Settings):
    """How the answer should be."""

    effort: Effort | None = None
    format: JsonFormat | None = None
    task_budget: Annotated[Any, only()] = Field(None, description=NOT_YET)


class Metadata(Settings):
    """For a provider's abuse detection; here is no provider."""

    user_id: Annotated[str, Field(max_length=1024)] | None = None


class PromptRequest(Settings):
    """What decides on the prompt: all that counting tokens takes."""

    model: str = Field(min_length=1, max_length=512, description="An identifier of /v1/models.")
    messages: Messages
    system: Text | None = Field(
        None,
        description="Instructions. A block that begins with `x-anthropic-billing-header:` is "
        "accounting, not for the model, and left out.",
    )
    tools: Tools | None = Field(
        None, description="What the model may call; the client runs it. Types of Anthropic's: 400."
    )
    tool_choice: Choice | None = Field(
        None, description="Whether a tool is called, and which; enforced. `auto` if left out."
    )
    thinking: ThinkingConfig | None = Field(
        None,
        description="A wish, for templates that have a switch; left out, the template decides. "
        "`budget_tokens` is for templates that take one; elsewhere only `max_tokens` bounds "
        "thoughts. `disabled` is refused where a model always thinks.",
    )
    output_config: OutputConfig | None = Field(
        None,
        description="`format` is enforced. `effort` is a wish, for templates that take a "
        "`reasoning_effort` (`xhigh` and `max` as `high`); other models think as they always do.",
    )
    output_format: JsonFormat | None = Field(
        None, description="The older name of `output_config.format`."
    )
    cache_control: CacheControl = None
    context_management: Annotated[Any, only({}, {"edits": []}, {"edits": [_KEEP_ALL]})] = Field(
        None, description="Nothing of a conversation is cleared here."
    )
    mcp_servers: Annotated[Any, only([])] = Field(
        None, description="Tools that run on the server come with a later issue."
    )
    speed: Annotated[Any, only("standard")] = Field(None, description="There is one speed.")
    billing_policy: Annotated[Any, only()] = Field(None, description="Nothing is billed here.")
    compaction: Annotated[Any, only()] = Field(None, description=NOT_YET)


class MessagesRequest(PromptRequest):
    """The body of /v1/messages. A setting left out is the instance's own."""

    max_tokens: Count = Field(
        description="Most tokens to generate, thoughts included; 0 only puts the prompt into the "
        "cache."
    )
    stream: bool = False
    stop_sequences: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=MAX_STOP_STRING_LENGTH)], ...],
            Field(max_length=MAX_STOP_STRINGS, strict=False),
        ]
        | None
    ) = None
    temperature: Strength | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    deterministic: Determinism | None = Field(
        None, description="No parameter of Anthropic's; here, all dialects take it."
    )
    metadata: Metadata | None = Field(
        None,
        description="For a provider's abuse detection; here is no provider.",
        json_schema_extra=NO_EFFECT,
    )
    service_tier: Literal["auto", "standard_only"] | None = Field(
        None, description="There is one tier, `standard`.", json_schema_extra=NO_EFFECT
    )
    container: Annotated[Any, only()] = Field(None, description="No code runs here.")
    diagnostics: Annotated[Any, only({}, {"previous_message_id": None})] = Field(
        None, description="Prompts are not kept to be compared."
    )
    fallback_credit_token: Annotated[Any, only()] = Field(
        None, description="Nothing is billed here."
    )
    fallbacks: Annotated[Any, only([])] = Field(
        None, description="No other model ever answers than the one that was asked."
    )
    inference_geo: Annotated[Any, only()] = Field(
        None, description="Models run where the server runs."
    )
    thread: dict[str, Any] | None = Field(
        None,
        description="The server keeps no conversation; Anthropic's client goes on without.",
        json_schema_extra={EFFECT: "refused"},
    )


class CountRequest(PromptRequest):
    """The body of /v1/messages/count_tokens. What is wrong in it is told as for a message."""

    output_config: OutputConfig | None = Field(
        None,
        description="`effort`, for templates that take a `reasoning_effort`. `format` decides on "
        "the answer; a prompt does not tell of it.",
    )
    output_format: JsonFormat | None = Field(
        None,
        description="It decides on the answer; a prompt does not tell of it.",
        json_schema_extra=NO_EFFECT,
    )
