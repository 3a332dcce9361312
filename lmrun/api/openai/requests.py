"""The bodies of OpenAI's requests: what is honoured, and what is known but refused.

Every parameter of OpenAI's reference is a field here. One that cannot be honoured yet takes only
the values with which it changes nothing (`only`), its description says why. Anything else is
unknown. It knows no model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, FailFast, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lmrun.api.openai.fields import (
    SAYS_ALL,
    UNSUPPORTED,
    Content,
    PromptText,
    StopStrings,
    only,
)
from lmrun.api.openai.response_format import ResponseFormat
from lmrun.api.openai.sampling import SamplingParameters
from lmrun.settings.base import Settings
from lmrun.settings.prediction import MAX_TOP_LOGPROBS
from lmrun.settings.structured import StructuredOutput

MAX_MESSAGES = 4096
MAX_CHOICES = 8

_LATER = "Not supported yet."


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
    user: str | None = Field(
        None, description="For a provider's abuse detection; here is no provider: no effect."
    )
    ttl: Annotated[Any, only()] = Field(None, description=_LATER)
    chat_template: Annotated[Any, only()] = Field(
        None, description="Templates come from the model or the profile, never from a request."
    )
    chat_template_kwargs: Annotated[Any, only()] = Field(None, description=_LATER)


class ChatMessage(Settings):
    """One message. Fields that clients echo from an answer may be there, empty."""

    role: Literal["system", "developer", "user", "assistant"]
    tool_calls: Annotated[Any, only([])] = Field(None, description=_LATER)
    content: Content
    name: Annotated[Any, only()] = Field(
        None, description="Chat templates have no place for names."
    )
    tool_call_id: Annotated[Any, only()] = Field(None, description=_LATER)
    function_call: Annotated[Any, only()] = Field(None, description=_LATER)
    refusal: Annotated[Any, only()] = Field(None, description="Models here do not refuse this way.")
    audio: Annotated[Any, only()] = Field(None, description=_LATER)
    annotations: Annotated[Any, only([])] = Field(None, description=_LATER)
    reasoning: Annotated[Any, only()] = Field(None, description=_LATER)
    reasoning_content: Annotated[Any, only()] = Field(None, description=_LATER)

    @model_validator(mode="after")
    def _shows_images_as_user(self) -> ChatMessage:
        if self.role != "user" and not isinstance(self.content, str):
            raise PydanticCustomError(SAYS_ALL, "only messages of the role user may hold images")
        return self

    @field_validator("role", mode="before")
    @classmethod
    def _is_no_tool(cls, value: Any) -> Any:
        if value in ("tool", "function"):
            raise PydanticCustomError(
                UNSUPPORTED, "{reason}", {"reason": f"{value!r} is not supported yet"}
            )
        return value


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


class ChatRequest(GenerationRequest):
    """The body of /v1/chat/completions."""

    messages: Annotated[
        tuple[ChatMessage, ...], FailFast(), Field(strict=False), BeforeValidator(_check_length)
    ] = Field(json_schema_extra={"minItems": 1, "maxItems": MAX_MESSAGES})
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="The newer name of max_tokens."
    )

    logprobs: bool | None = Field(None, description="Report each token's log probability.")
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None, description="With it, those of this many of the likeliest tokens at each place."
    )
    tools: Annotated[Any, only([])] = Field(None, description=_LATER)
    tool_choice: Annotated[Any, only("none", "auto")] = Field(
        None, description="Without tools, both mean that none is called."
    )
    parallel_tool_calls: Annotated[Any, only(True, False)] = Field(
        None, description="Without tools there are no calls to run in parallel."
    )
    functions: Annotated[Any, only([])] = Field(None, description=_LATER)
    function_call: Annotated[Any, only("none", "auto")] = Field(
        None, description="Without functions, both mean that none is called."
    )
    response_format: ResponseFormat | None = Field(
        None, description="Free text, some JSON object, or JSON that satisfies a schema."
    )
    modalities: Annotated[Any, only(["text"])] = Field(None, description=_LATER)
    audio: Annotated[Any, only()] = Field(None, description=_LATER)
    prediction: Annotated[Any, only()] = Field(None, description=_LATER)
    reasoning_effort: Annotated[Any, only()] = Field(None, description=_LATER)
    verbosity: Annotated[Any, only("medium")] = Field(
        None, description="Models here have one verbosity, which is the default."
    )
    store: Annotated[Any, only(False)] = Field(None, description="Nothing is stored.")
    metadata: Annotated[Any, only({})] = Field(
        None, description="It belongs to stored completions, and nothing is stored."
    )
    moderation: Annotated[Any, only()] = Field(None, description=_LATER)
    service_tier: Annotated[Any, only("auto", "default")] = Field(
        None, description="There is one tier, the default."
    )
    safety_identifier: str | None = Field(
        None, description="For a provider's abuse detection; here is no provider: no effect."
    )
    prompt_cache_key: str | None = Field(
        None, description="Hints which cache to use; there is one: no effect."
    )
    prompt_cache_retention: Annotated[Any, only("in_memory")] = Field(
        None, description="The prompt cache is in memory."
    )
    prompt_cache_options: Annotated[Any, only({})] = Field(None, description=_LATER)
    web_search_options: Annotated[Any, only()] = Field(None, description=_LATER)


class CompletionRequest(GenerationRequest):
    """The body of /v1/completions: no template is applied."""

    prompt: PromptText
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None, description="Only what `n` is: every choice generated is given back."
    )
    echo: bool | None = Field(None, description="Give the prompt back before the answer.")
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None,
        description="Report each token's log probability, with this many of the likeliest tokens.",
    )
    suffix: Annotated[Any, only()] = Field(None, description=_LATER)
