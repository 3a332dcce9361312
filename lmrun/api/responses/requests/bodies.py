"""The bodies of requests: what is honoured, and what is known but refused.

Every parameter of OpenAI's reference is a field here. One that cannot be honoured takes only the
values with which it changes nothing (`only`), its description says why. It knows no model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from lmrun.api.fields import NO_EFFECT, NOT_YET, only
from lmrun.api.responses.requests.formats import TextConfig
from lmrun.api.responses.requests.items import Items
from lmrun.api.responses.requests.tools import Choice, ToolDefinition
from lmrun.api.tool_choice import MAX_TOOLS
from lmrun.settings.base import Settings
from lmrun.settings.bounds import Count, Determinism, Penalty, RepeatPenalty, Share, Strength
from lmrun.settings.prediction import MAX_TOP_LOGPROBS

LOGPROBS = "message.output_text.logprobs"

Includable = Literal[
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
]
"""Log probabilities; images come with their messages, and reasoning as plain text, anyway."""

INCLUDABLE: tuple[str, ...] = get_args(Includable)

_NOT_IN_PROMPTS = "It decides on the answer; a prompt does not tell of it."
_NO_PROVIDER = "For a provider's abuse detection; here is no provider."

Label = Annotated[str, Field(max_length=512)]
"""A client's own name of something. It comes back with the response, and is stored with it."""

Include = Annotated[tuple[Includable, ...], Field(max_length=16, strict=False)]


class ReasoningConfig(Settings):
    """How a model thinks, for chat templates that take it."""

    effort: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        None, description="`none` also for templates that take `enable_thinking`."
    )
    summary: Annotated[Any, only("auto")] = Field(
        None, description="Nothing is summarised: what the model thinks is there as it is."
    )
    generate_summary: Annotated[Any, only("auto")] = Field(
        None, description="The old name of `summary`."
    )
    context: Annotated[Any, only("auto")] = Field(None, description="The template decides.")
    mode: Annotated[Any, only("standard")] = Field(None, description=NOT_YET)


class StreamOptions(Settings):
    """Details of a stream."""

    include_obfuscation: Annotated[Any, only(False)] = Field(
        None, description="Events are not padded."
    )


class PromptRequest(Settings):
    """What decides about the prompt."""

    model: str = Field(min_length=1, max_length=512, description="An identifier of /v1/models.")
    input: Items = Field((), description="A text, or messages, calls, their outputs, reasoning.")
    instructions: str | None = Field(
        None, description="In front of all messages; not carried over to responses that follow."
    )
    previous_response_id: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="The stored response that this one continues."
    )
    tools: Annotated[
        tuple[ToolDefinition, ...] | None, Field(max_length=MAX_TOOLS, strict=False)
    ] = Field(
        None,
        description="Functions that the model may call, and MCP servers, whose tools the server "
        "runs. The answer ends with a call of a function, or one that needs an approval.",
    )
    tool_choice: Choice | None = Field(
        None, description="Whether a tool is called, and which; `auto` if left out."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may call several functions; true if left out."
    )
    reasoning: ReasoningConfig | None = None
    text: TextConfig | None = Field(None, description="What the answer must look like.")
    truncation: Literal["auto", "disabled"] | None = Field(
        None,
        description="A prompt beyond the context: drop its middle, or refuse it. Left out: what "
        "the model's `context_overflow_policy` says.",
    )
    conversation: Annotated[Any, only()] = Field(
        None, description="Name what is continued in `previous_response_id`."
    )


class InputTokensRequest(PromptRequest):
    """The body of /v1/responses/input_tokens. What is wrong in it is told as for a response."""

    parallel_tool_calls: bool | None = Field(
        None, json_schema_extra=NO_EFFECT, description=_NOT_IN_PROMPTS
    )
    text: TextConfig | None = Field(None, json_schema_extra=NO_EFFECT, description=_NOT_IN_PROMPTS)
    truncation: Literal["auto", "disabled"] | None = Field(
        None,
        json_schema_extra=NO_EFFECT,
        description="The whole prompt is counted, whether it fits into the context or not.",
    )
    personality: Annotated[Any, only()] = Field(None, description=NOT_YET)


class ResponseRequest(PromptRequest):
    """The body of /v1/responses. A setting left out is the instance's own."""

    stream: bool = False
    stream_options: StreamOptions | None = None
    store: bool | None = Field(
        None, description="Whether it can be continued and looked up; true if left out."
    )
    include: Include | None = Field(
        None,
        description=f"`{LOGPROBS}`: report each token's. Images of messages and reasoning are "
        "there anyway, the latter as plain text that can be sent back.",
    )
    max_output_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="Most tokens to generate, reasoning and all rounds included."
    )
    temperature: Strength | None = None
    top_p: Share | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None, description=f"How many of the likeliest tokens at each place; needs {LOGPROBS}."
    )
    top_k: Count | None = None
    min_p: Share | None = None
    repeat_penalty: RepeatPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        None, description="Same seed, same request, same text. Left out: a new one each time."
    )
    deterministic: Determinism | None = None
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None,
        Field(max_length=16),
    ] = Field(None, description="Comes back with the response.")
    max_tool_calls: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="Most calls of tools that the server runs; further ones are denied."
    )
    user: Label | None = Field(None, json_schema_extra=NO_EFFECT, description=_NO_PROVIDER)
    safety_identifier: Label | None = Field(
        None, json_schema_extra=NO_EFFECT, description=_NO_PROVIDER
    )
    prompt_cache_key: Label | None = Field(
        None, json_schema_extra=NO_EFFECT, description="Hints which cache to use; there is one."
    )
    prompt_cache_retention: Annotated[Any, only("in_memory")] = Field(
        None, description="Prefixes stay as long as there is room for them."
    )
    prompt_cache_options: Annotated[Any, only({}, {"mode": "implicit"})] = Field(
        None, description="Every prefix is cached, as long as there is room for it."
    )
    service_tier: Annotated[Any, only("auto", "default")] = Field(
        None, description="There is one tier, the default."
    )
    ttl: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None,
        description="Seconds that the model may be idle if this request loads it; one that is "
        "loaded already keeps its own.",
    )
    background: Annotated[Any, only(False)] = Field(None, description=NOT_YET)
    background_options: Annotated[Any, only()] = Field(None, description=NOT_YET)
    prompt: Annotated[Any, only()] = Field(None, description="There are no stored prompts.")
    context_management: Annotated[Any, only([])] = Field(None, description=NOT_YET)
    moderation: Annotated[Any, only()] = Field(None, description=NOT_YET)
    access_programs: Annotated[Any, only()] = Field(None, description="A provider's; here is none.")
    image: Annotated[
        Any, only({"context_compression": "auto"}, {"context_compression": "disabled"})
    ] = Field(None, description="Images are not compressed.")
