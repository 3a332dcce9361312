"""The bodies of /api/v1's requests. It knows no model.

Format: lmstudio-ai/docs, `1_developer/2_rest/`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic import WithJsonSchema as Schema
from pydantic_core import PydanticCustomError

from lmrun.api.attachments import parse_image
from lmrun.api.fields import SAYS_ALL, UNSUPPORTED
from lmrun.api.lmstudio.v1.reasoning import ReasoningSetting
from lmrun.settings.base import Settings
from lmrun.settings.bounds import Count, RepeatPenalty, Share, Strength

MAX_ITEMS = 256
ModelName = Annotated[str, Field(min_length=1, max_length=512)]
ContextLength = Annotated[int, Field(ge=8, le=16_777_216)]


class TextItem(Settings):
    """The reference calls its type `message`, its examples `text`."""

    type: Literal["text", "message"]
    content: str


def _to_image(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_image(value)
    except ValueError as error:
        raise PydanticCustomError(SAYS_ALL, "{reason}", {"reason": str(error)}) from None


class ImageItem(Settings):
    """An image, as a data URL."""

    type: Literal["image"]
    data_url: Annotated[
        bytes,
        BeforeValidator(_to_image),
        Schema({"type": "string", "pattern": "^data:image/"}),
    ]


InputItem = Annotated[TextItem | ImageItem, Field(discriminator="type")]


def _refuse_integrations(value: Any) -> Any:
    if value in (None, [], ()):
        return None
    raise PydanticCustomError(
        UNSUPPORTED,
        "tools that the server runs (plugins and MCP servers) come with a later version of lmrun; "
        "/v1/chat/completions takes `tools` that the client runs",
    )


class ChatRequestV1(Settings):
    """The body of /api/v1/chat. A setting left out is the instance's own."""

    model: ModelName = Field(description="A model key or an identifier.")
    input: (
        str
        | Annotated[tuple[InputItem, ...], Field(min_length=1, max_length=MAX_ITEMS, strict=False)]
    ) = Field(description="What the user says: text, or texts and images in their order.")
    system_prompt: str | None = Field(
        None, description="Left out, that of the continued chat, else the instance's own."
    )
    integrations: Annotated[
        None,
        BeforeValidator(_refuse_integrations),
        Schema({"type": "array", "maxItems": 0, "x-lmrun-effect": "refused"}),
    ] = Field(None, description="Tools that the server runs: not supported yet; only [] is.")
    stream: bool = False
    temperature: Strength | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    min_p: Share | None = None
    repeat_penalty: RepeatPenalty | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="Most tokens to generate, reasoning included."
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
    echo_load_config: bool = Field(False, description="Answer with `load_config`, too.")

    @property
    def settings(self) -> dict[str, Any]:
        """The load settings that were chosen."""
        return self.model_dump(exclude={"model", "echo_load_config"}, exclude_none=True)


class UnloadRequest(Settings):
    """The body of /api/v1/models/unload."""

    instance_id: ModelName = Field(description="The instance's identifier.")


class DownloadRequest(Settings):
    """The body of /api/v1/models/download."""

    model: ModelName = Field(
        description="A declared model. What is not on this machine is not fetched over this port."
    )
    quantization: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="For links to Hugging Face only, which are not supported yet: refused."
    )
