"""The profile as types: what a user may declare. It knows no file, no YAML and no server.

`schemas/profile.schema.json` is generated from here. A field that an open issue will bring is
listed in `PLANNED`, so that the refusal can say so.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from lmrun.settings.base import Settings
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.quantities import Size
from lmrun.settings.secret import Secret

ModelKey = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@:-]*(/[A-Za-z0-9][A-Za-z0-9._@:-]*)*$")
]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@:/-]*$")]
PresetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^/*\s]+$")]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.\[\]:-]+$")]

PLANNED: dict[str, str] = {
    "tools": "tool execution",
    "mcp_servers": "tool execution",
    "agents": "tool execution",
    "checks": "the declarative lifecycle",
    "server.jit": "the declarative lifecycle",
    "server.memory": "the declarative lifecycle",
    "models.*.instances": "the declarative lifecycle",
    "models.*.ttl": "the declarative lifecycle",
    "models.*.rollout": "the declarative lifecycle",
    "models.*.prompt_template": "the complete API",
    "models.*.prewarm": "the complete llama.cpp engine",
    "models.*.deterministic": "the complete llama.cpp engine",
    "models.*.load.adapters": "the complete llama.cpp engine",
    "models.*.load.kv_tokens": "the complete llama.cpp engine",
    "models.*.load.prefix_cache": "the complete llama.cpp engine",
    "models.*.load.draft_model": "the complete llama.cpp engine",
    "models.*.load.mmproj": "the complete llama.cpp engine",
    "models.*.load.num_experts": "the complete llama.cpp engine",
    "models.*.load.seed": "the complete llama.cpp engine",
    "models.*.load.offload_kv_cache_to_gpu": "the complete llama.cpp engine",
}
"""Fields of the design that have not landed, each with what will bring it."""


class ApiKey(Settings):
    """A client's key for the HTTP port."""

    name: str = Field(min_length=1, max_length=64, description="Who uses it, for logs.")
    key: Secret
    scopes: Annotated[tuple[Literal["inference"], ...], Field(min_length=1, strict=False)] = Field(
        ("inference",), description="What the key may do."
    )


class Limits(Settings):
    """Bounds of the HTTP port and of each model's queue."""

    queue: Annotated[int, Field(ge=0, le=100_000)] = Field(
        64, description="Requests that may wait per model; beyond it the answer is 429."
    )
    body: Size = Field(32 * 2**20, description="Largest request body.")


class ServerConfig(Settings):
    """The HTTP port. A changed host, port or key set restarts the listener, no model."""

    host: Annotated[str, Field(min_length=1)] = Field(
        "127.0.0.1", description="Address to bind; other than loopback needs an API key."
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        1234, description="TCP port; 0 takes a free one."
    )
    cors: Literal[False] | Annotated[tuple[Origin, ...], Field(min_length=1, strict=False)] = Field(
        False, description="Browser origins that may call the API, exactly; false allows none."
    )
    api_keys: Annotated[tuple[ApiKey, ...], Field(strict=False)] = Field(
        (), description="Keys of which a request must carry one. None: no key is asked for."
    )
    allowed_hosts: Annotated[tuple[HostName, ...], Field(strict=False)] = Field(
        (), description="Further Host names that clients may use (containers, LAN names)."
    )
    limits: Limits = Limits()

    @field_validator("api_keys")
    @classmethod
    def _names_are_unique(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        names = [key.name for key in keys]
        if len(set(names)) != len(names):
            raise ValueError("two API keys have the same name")
        return keys


class ModelConfig(Settings):
    """A declared model."""

    source: Annotated[str, Field(min_length=1)] = Field(
        description="Where the file is: `file:./m.gguf` (relative to this profile) or "
        "`package:NAME==VERSION/path/in/package.gguf` (a PyPI distribution)."
    )
    state: Literal["loaded", "absent"] = Field(
        "loaded", description="`loaded`: kept in memory. `absent`: declared, not loaded."
    )
    identifier: Identifier | None = Field(
        None, description="The name clients use for the instance. Default: the model key."
    )
    load: LoadConfig = LoadConfig()
    preset: PresetName | None = Field(None, description="A preset of this profile.")


class Preset(Settings):
    """A named set of defaults for requests."""

    system_prompt: str | None = Field(
        None, description="Put before conversations that bring no system message."
    )
    prediction: PredictionConfig = PredictionConfig()


class Profile(Settings):
    """What should be: the whole file, overlays merged and references resolved."""

    version: Literal[1] = Field(description="The format's version.")
    include: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="Profiles to lay beneath this one, in order; later wins, lists replace."
    )
    server: ServerConfig = ServerConfig()
    models: dict[ModelKey, ModelConfig] = Field(default_factory=dict)
    presets: dict[PresetName, Preset] = Field(default_factory=dict)


def json_schema() -> dict[str, Any]:
    """The JSON schema that editors use, as committed under `schemas/`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Profile.model_json_schema(mode="validation"),
        "title": "lmrun profile",
    }
