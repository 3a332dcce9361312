"""The bodies of OpenAI's requests: what is honoured, and what is known but refused.

Every parameter of OpenAI's reference is a field here. One that cannot be honoured yet takes only
the values with which it changes nothing (`only`), its description says why. Anything else is
unknown. It knows no model.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, FailFast, Field
from pydantic_core import PydanticCustomError

from lmrun.api.fields import NO_EFFECT, NOT_YET, SAYS_ALL, only
from lmrun.api.openai.chat_messages import ChatMessage
from lmrun.api.openai.fields import StopStrings
from lmrun.api.openai.response_format import ResponseFormat
from lmrun.api.openai.sampling import SamplingParameters
from lmrun.api.openai.texts import Texts, TextsField
from lmrun.api.openai.tools import Choice, ToolDefinition
from lmrun.api.tool_choice import MAX_TOOLS
from lmrun.settings.base import Settings
from lmrun.settings.prediction import MAX_TOP_LOGPROBS
from lmrun.settings.structured import StructuredOutput

MAX_MESSAGES = 4096
MAX_CHOICES = 8
MAX_PROMPTS = 128
MAX_GENERATIONS = 128
"""Of all prompts of a request together."""


Label = Annotated[str, Field(max_length=512)]
"""A client's own name of something."""


class StreamOptions(Settings):
    """Details of a stream."""

    include_usage: bool = Field(False, description="End with a chunk that holds the usage.")
    include_obfuscation: Annotated[Any, only(False)] = Field(
        None, description="Chunks are not padded."
    )


class GenerationRequest(SamplingParameters):
    """What chat and completions share. A setting left out is the instance's own."""

    model: str = Field(min_length=1, max_length=512, description="An identifier of /v1/models.")
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: StopStrings | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, description="Same seed, same request, same text. Left out: a new one each time."
    )
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None, description="How many choices; with a seed, choice i is generated with seed + i."
    )
    structured: StructuredOutput | None = Field(
        None, description="What the answer must look like: a schema, a regex, choices, a grammar."
    )
    user: Label | None = Field(
        None,
        description="For a provider's abuse detection; here is no provider.",
        json_schema_extra=NO_EFFECT,
    )
    ttl: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None,
        description="Seconds that the model may be idle if this request loads it; one that is "
        "loaded already keeps its own.",
    )
    chat_template: Annotated[Any, only()] = Field(
        None, description="Templates come from the model or the profile, never from a request."
    )


def _check_length(value: Any) -> Any:
    """Before the messages themselves: of too many, none is worth a look."""
    if isinstance(value, list) and not value:
        raise PydanticCustomError(SAYS_ALL, "it is empty; it must hold at least one message")
    if isinstance(value, list) and len(value) > MAX_MESSAGES:
        raise PydanticCustomError(
            SAYS_ALL,
            "it holds {count} messages; at most {limit} are taken",
            {"count": len(value), "limit": MAX_MESSAGES},
        )
    return value


class ConversationRequest(Settings):
    """A conversation, and what the model's template makes of it."""

    messages: Annotated[
        tuple[ChatMessage, ...], FailFast(), Field(strict=False), BeforeValidator(_check_length)
    ] = Field(json_schema_extra={"minItems": 1, "maxItems": MAX_MESSAGES})
    tools: Annotated[
        tuple[ToolDefinition, ...] | None, Field(max_length=MAX_TOOLS, strict=False)
    ] = Field(None, description="Functions that the model may call.")
    tool_choice: Choice | None = Field(
        None, description="Whether a function is called, and which; `auto` if left out."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may call several functions; true if left out."
    )
    functions: Annotated[Any, only([])] = Field(
        None, description="The old notation of `tools`; send those."
    )
    function_call: Annotated[Any, only("none", "auto")] = Field(
        None, description="Without functions, both mean that none is called."
    )
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        None, description="For chat templates that take it, `none` also for `enable_thinking`."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None,
        max_length=32,
        description="Variables for the model's chat template; those that it reads.",
    )


class ChatRequest(ConversationRequest, GenerationRequest):
    """The body of /v1/chat/completions."""

    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="The newer name of max_tokens."
    )

    logprobs: bool | None = Field(None, description="Report each token's log probability.")
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None, description="With it, those of this many of the likeliest tokens at each place."
    )
    response_format: ResponseFormat | None = Field(
        None, description="Free text, some JSON object, or JSON that satisfies a schema."
    )
    modalities: Annotated[Any, only(["text"])] = Field(None, description=NOT_YET)
    audio: Annotated[Any, only()] = Field(None, description=NOT_YET)
    prediction: Annotated[Any, only()] = Field(None, description=NOT_YET)
    verbosity: Annotated[Any, only("medium")] = Field(
        None, description="Models here have one verbosity, which is the default."
    )
    store: Annotated[Any, only(False)] = Field(None, description="Nothing is stored.")
    metadata: Annotated[Any, only({})] = Field(
        None, description="It belongs to stored completions, and nothing is stored."
    )
    moderation: Annotated[Any, only()] = Field(None, description=NOT_YET)
    service_tier: Annotated[Any, only("auto", "default")] = Field(
        None, description="There is one tier, the default."
    )
    safety_identifier: Label | None = Field(
        None,
        description="For a provider's abuse detection; here is no provider.",
        json_schema_extra=NO_EFFECT,
    )
    prompt_cache_key: Label | None = Field(
        None,
        description="Hints which cache to use; there is one.",
        json_schema_extra=NO_EFFECT,
    )
    prompt_cache_retention: Annotated[Any, only("in_memory")] = Field(
        None, description="The prompt cache is in memory."
    )
    prompt_cache_options: Annotated[Any, only({})] = Field(None, description=NOT_YET)
    web_search_options: Annotated[Any, only()] = Field(None, description=NOT_YET)


class TemplateRequest(ConversationRequest):
    """The body of /apply-template."""

    model: str = Field(min_length=1, max_length=512, description="An identifier of /v1/models.")
    parallel_tool_calls: bool | None = Field(
        None,
        description="It decides on the answer; a prompt does not tell of it.",
        json_schema_extra=NO_EFFECT,
    )
    add_generation_prompt: Annotated[Any, only(True)] = Field(
        None, description="The prompt always ends where the assistant's answer begins."
    )
    chat_template: Annotated[Any, only()] = Field(
        None, description="Templates come from the model or the profile, never from a request."
    )


class CompletionRequest(GenerationRequest):
    """The body of /v1/completions: no template is applied."""

    prompt: Annotated[Texts, TextsField("prompt", MAX_PROMPTS)] = Field(
        description="A text or its token ids, or an array of either; the choices of the first "
        "come first."
    )
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None,
        description="Generate so many answers to each prompt and give the `n` back that are "
        "likeliest per token; not with `stream`.",
    )
    echo: bool | None = Field(None, description="Give the prompt back before the answer.")
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None,
        description="Report each token's log probability, with this many of the likeliest tokens.",
    )
    suffix: Annotated[Any, only("")] = Field(
        None, description="Filling in the middle is not supported yet."
    )
