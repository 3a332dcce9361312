"""The bodies of /api/v1's requests. It knows no model.

Format: lmstudio-ai/docs, `1_developer/2_rest/`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, FailFast, Field, model_validator
from pydantic import WithJsonSchema as Schema
from pydantic_core import PydanticCustomError

from lmrun.api.enclosed_files import parse_image
from lmrun.api.fields import EFFECT, SAYS_ALL
from lmrun.api.lmstudio.v1.integrations import Integrations
from lmrun.api.lmstudio.v1.reasoning import ReasoningSetting
from lmrun.settings.base import Settings
from lmrun.settings.bounds import Count, Determinism, RepeatPenalty, Share, Strength

MAX_ITEMS = 256
ModelName = Annotated[str, Field(min_length=1, max_length=512)]
ContextLength = Annotated[int, Field(ge=8, le=16_777_216)]


def _to_image(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError(SAYS_ALL, "it must be a string, the image's data: URL")
    try:
        return parse_image(value)
    except ValueError as error:
        raise PydanticCustomError(SAYS_ALL, "{reason}", {"reason": str(error)}) from None


class InputItem(Settings):
    """A text, whose type the reference calls `message` and its examples `text`, or an image."""

    type: Literal["text", "message", "image"]
    content: str | None = None
    data_url: Annotated[bytes | None, BeforeValidator(_to_image)] = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> InputItem:
        has, lacks = ("data_url", "content") if self.type == "image" else ("content", "data_url")
        if getattr(self, has) is None or getattr(self, lacks) is not None:
            raise PydanticCustomError(
                SAYS_ALL,
                "an item of the type {kind} has `{has}`, and no `{lacks}`",
                {"kind": self.type, "has": has, "lacks": lacks},
            )
        return self


def _to_items(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "text", "content": value}]
    if isinstance(value, list) and not 0 < len(value) <= MAX_ITEMS:
        raise PydanticCustomError(
            SAYS_ALL,
            "it holds {count} items; it must hold 1 to {limit}",
            {"count": len(value), "limit": MAX_ITEMS},
        )
    if not isinstance(value, list):
        raise PydanticCustomError(SAYS_ALL, "it must be a string or an array of items")
    return value


Input = Annotated[
    tuple[InputItem, ...],
    FailFast(),
    Field(strict=False),
    BeforeValidator(_to_items),
    Schema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_ITEMS,
                    "items": {
                        "anyOf": [
                            {
                                "type": "object",
                                "properties": {
                                    "type": {"enum": ["text", "message"]},
                                    "content": {"type": "string"},
                                },
                                "required": ["type", "content"],
                                "additionalProperties": False,
                            },
                            {
                                "type": "object",
                                "properties": {
                                    "type": {"const": "image"},
                                    "data_url": {"type": "string", "pattern": "^data:image/"},
                                },
                                "required": ["type", "data_url"],
                                "additionalProperties": False,
                            },
                        ]
                    },
                },
            ]
        }
    ),
]
"""A string, or items in their order."""


class ChatRequestV1(Settings):
    """The body of /api/v1/chat. A setting left out is the instance's own."""

    model: ModelName = Field(description="A model key or an identifier.")
    input: Input = Field(description="What the user says: text, or texts and images.")
    system_prompt: str | None = Field(
        None, description="Left out, that of the continued chat, else the instance's own."
    )
    integrations: Integrations = Field(
        (),
        description="Tools that the server runs while it answers. The policy decides on each call; "
        "what it would ask about is denied.",
    )
    stream: bool = False
    temperature: Strength | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    min_p: Share | None = None
    repeat_penalty: RepeatPenalty | None = None
    deterministic: Determinism | None = Field(
        None, description="No parameter of LM Studio's; here, all dialects take it."
    )
    max_output_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="Most tokens to generate, reasoning and all rounds included."
    )
    reasoning: ReasoningSetting | None = Field(
        None, description="One of the model's `capabilities.reasoning.allowed_options`."
    )
    context_length: ContextLength | None = Field(
        None,
        description="The context that the chat needs, in tokens. An instance that was loaded with "
        "less is refused; load one with more.",
    )
    store: bool = Field(True, description="Keep the chat, so that it can be continued.")
    previous_response_id: Annotated[str, Field(pattern=r"^resp_[A-Za-z0-9]{1,64}$")] | None = Field(
        None, description="The response that this one continues."
    )


class LoadRequest(Settings):
    """The body of /api/v1/models/load. A setting left out is the profile's."""

    model: ModelName = Field(description="A declared model's key or identifier.")
    context_length: ContextLength | None = None
    eval_batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    flash_attention: bool | None = None
    num_experts: Annotated[int, Field(ge=1, le=512)] | None = Field(
        None, description="Refused by models that are no mixture of experts."
    )
    offload_kv_cache_to_gpu: bool | None = None
    ttl: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None,
        description="Seconds that it may be idle if this loads it. Default: for as long as it "
        "likes.",
    )
    echo_load_config: bool = Field(False, description="Answer with `load_config`, too.")

    @property
    def settings(self) -> dict[str, Any]:
        """The load settings that were chosen."""
        return self.model_dump(exclude={"model", "ttl", "echo_load_config"}, exclude_none=True)


class UnloadRequest(Settings):
    """The body of /api/v1/models/unload."""

    instance_id: ModelName = Field(description="The instance's identifier.")


class DownloadRequest(Settings):
    """The body of /api/v1/models/download."""

    model: ModelName = Field(
        description="A declared model. What is not on this machine is not fetched over this port."
    )
    quantization: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None,
        description="For links to Hugging Face only, which are not supported yet.",
        json_schema_extra={EFFECT: "refused"},
    )
