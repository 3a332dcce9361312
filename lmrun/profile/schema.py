"""The profile as types: what a user may declare. It knows no file, no YAML and no server.

The JSON schema for editors is generated from here.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from lmrun.profile.presets import PRESET_PATTERN, Preset, PresetName
from lmrun.profile.residency import JitConfig, MemoryConfig, Priority, Ttl
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.profile.tooling.mcp import MCP_URL_PATTERN, McpServerConfig, McpServerName
from lmrun.profile.tooling.naming import SERVER_PATTERN, TOOL_KEY_PATTERN, TOOL_PATTERN_PATTERN
from lmrun.profile.tooling.policy import PolicyConfig
from lmrun.profile.tooling.references import (
    MCP_PROMPT_PATTERN,
    MCP_RESOURCE_PATTERN,
    PRESET_CHOICE_PATTERN,
)
from lmrun.profile.tooling.tools import (
    ALLOWED_HOST_PATTERN,
    FUNCTION_PATTERN,
    MAX_TOOLS,
    PARAMETER_PATTERN,
    VARIABLE_PATTERN,
    AllowedHost,
    ToolConfig,
)
from lmrun.settings.base import Settings
from lmrun.settings.check import TOOL_NAME_PATTERN, Check
from lmrun.settings.effects import OnChange
from lmrun.settings.load import LoadConfig
from lmrun.settings.prompt_template import PromptTemplate
from lmrun.settings.quantities import Duration, Size
from lmrun.settings.secret import Secret
from lmrun.settings.sources import check_source

_KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@:-]*(/[A-Za-z0-9][A-Za-z0-9._@:-]*)*$"
_IDENTIFIER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@:/-]*$"
_ORIGIN_PATTERN = r"^https?://[^/*\s]+$"
_HOST_NAME_PATTERN = r"^[A-Za-z0-9.\[\]:-]+$"

PATTERN_WORDS = {
    _KEY_PATTERN: "must be letters, digits and `. _ @ : -`, beginning with a letter or digit; "
    "`/` may separate such parts",
    _IDENTIFIER_PATTERN: "must be letters, digits and `. _ @ : / -`, "
    "beginning with a letter or digit",
    PRESET_PATTERN: "must be letters, digits and `. _ -`, beginning with a letter or digit",
    _ORIGIN_PATTERN: "must be an exact origin like `https://app.example.com`: "
    "no path, no trailing `/`, no `*`",
    TOOL_NAME_PATTERN: "must be at most 64 letters, digits and `. _ -`",
    TOOL_KEY_PATTERN: "must be at most 64 letters, digits and `_ -`, beginning with a letter or "
    "digit",
    SERVER_PATTERN: "must be letters, digits, `-` and single `_`: `__` parts a server's name from "
    "its tools'",
    TOOL_PATTERN_PATTERN: "must be a tool like `add` or `mcp/time/get_current_time`, or several "
    "with `*`",
    FUNCTION_PATTERN: "must be `module:function`",
    VARIABLE_PATTERN: "must be the name of an environment variable",
    PARAMETER_PATTERN: "must be at most 64 letters, digits and `_`, beginning with a letter or `_`",
    ALLOWED_HOST_PATTERN: "must be a host name or address, `*.` before it for those below",
    MCP_PROMPT_PATTERN: "must be a prompt of an MCP server, like `mcp/docs/review`",
    MCP_RESOURCE_PATTERN: "must be a resource of an MCP server, like `mcp/docs/file:///a.txt`",
    PRESET_CHOICE_PATTERN: "must be the name of a preset, or a prompt of an MCP server like "
    "`mcp/docs/review`",
    MCP_URL_PATTERN: "must be an address that begins with https:// or http://",
    _HOST_NAME_PATTERN: "must be a host name like `models.lan`: no scheme, no path, no `*`",
}
"""What each pattern means, for the message of a value that does not match it."""

ModelKey = Annotated[str, StringConstraints(pattern=_KEY_PATTERN)]
Identifier = Annotated[str, StringConstraints(pattern=_IDENTIFIER_PATTERN)]
CheckName = Annotated[str, StringConstraints(pattern=PRESET_PATTERN)]
Origin = Annotated[str, StringConstraints(pattern=_ORIGIN_PATTERN)]
ToolKey = Annotated[str, StringConstraints(pattern=TOOL_KEY_PATTERN)]
AgentName = Annotated[str, StringConstraints(pattern=_IDENTIFIER_PATTERN)]
HostName = Annotated[str, StringConstraints(pattern=_HOST_NAME_PATTERN)]


def refuse_planned(comes_with: str) -> str:
    """The message for something of the design that this version lacks."""
    return f"is not supported by this version of lmrun (it comes with {comes_with})"


def is_exposed(host: str) -> bool:
    """Whether an IP literal is reachable from other machines; False for what is no IP literal."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return False


def _check_version(version: Any) -> Any:
    # Python's `True` and `1.0` equal 1, so that Literal alone would take them.
    if type(version) is not int or version != 1:
        raise ValueError("must be 1, the only version of the format")
    return version


def _check_host(host: str) -> str:
    if host == "localhost":
        return host
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(
            "must be an IP address like 127.0.0.1, ::1 or 0.0.0.0 (no brackets, no port), "
            "or localhost"
        ) from None
    return host


def _check_cors(value: Any) -> Any:
    if value is not False and value == 0:
        raise ValueError("must be false, or a list of origins, not a number")
    if value == "*":
        raise ValueError(
            "`*` would let every website use this server; "
            "list exact origins, like [https://app.example.com], or write false"
        )
    return value


def _check_source(source: str) -> str:
    if source.startswith("hf:"):
        raise ValueError(f"a model from the Hugging Face hub {refuse_planned('the complete API')}")
    return check_source(source)


KeyScope = Literal["inference", "models", "tools", "admin"]


DriftPolicy = Literal["revert", "adopt", "report"]


class ApiKey(Settings):
    """A client's key for the HTTP port."""

    name: str = Field(min_length=1, max_length=64, description="Who uses it, for logs.")
    key: Secret = Field(
        description="A reference to the key, ${env:NAME} or ${file:path}; never the key itself."
    )
    scopes: Annotated[tuple[KeyScope, ...], Field(min_length=1, strict=False)] = Field(
        ("inference",),
        description="What the key may do: `inference`: use models and list them; `models`: load "
        "and unload them, see the server's state; `tools`: run tools; `admin`: everything, the "
        "prompts of others included.",
    )
    priority: Priority = Field(
        "normal",
        description="Whose requests go first where some must wait. The header `x-lmrun-priority` "
        "lowers it for one request.",
    )


class Limits(Settings):
    """Bounds of the HTTP port and of each model's queue."""

    queue: Annotated[int, Field(ge=0, le=100_000)] = Field(
        64, description="Requests that may wait per model; beyond it the answer is 429."
    )
    body: Size = Field(
        32 * 2**20,
        description="Largest request body.",
        # The schema is for the text, where a size has a unit.
        json_schema_extra={"default": "32MiB"},
    )
    connections: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1024, description="Connections that may be open at a time; beyond it the answer is 503."
    )
    streams_per_key: Annotated[int, Field(ge=1, le=100_000)] = Field(
        8, description="Requests of one API key that are answered at a time; beyond it, 429."
    )
    request_time: Annotated[Duration, Field(gt=0)] = Field(
        1800.0,
        description="Longest time for an answer, its stream included; beyond it the answer is "
        "504, or ends with an error.",
        json_schema_extra={"default": "30m"},
    )


class Compat(Settings):
    """What is done for clients that expect less strictness."""

    unknown_parameters: Literal["refuse", "warn"] = Field(
        "refuse",
        description="`warn`: parameters that nobody knows are passed over, and named in the log "
        "and the header `x-lmrun-ignored-parameters`; `refuse`: the answer is 400.",
    )


def _check_ephemeral(value: Any) -> Any:
    if not isinstance(value, bool) and value in (0, 1):
        raise ValueError("must be true, false or a list of hosts, not a number")
    return value


class McpDoor(Settings):
    """MCP servers that requests bring along, beside those that the profile declares."""

    ephemeral: Annotated[
        bool | Annotated[tuple[AllowedHost, ...], Field(min_length=1, strict=False)],
        BeforeValidator(_check_ephemeral),
    ] = Field(
        False,
        description="Whether requests may name the URL of an MCP server, whose tools then run "
        "unasked. `true`: any with a public address, over https; a list of hosts: only those, "
        "whatever their addresses are.",
    )


class LogConfig(Settings):
    """What the server writes to its standard error, in the background to `logs/server.log` in
    LMRUN_HOME."""

    level: Literal["error", "warning", "info"] = Field(
        "info", description="The least important kind written; each request is an `info`."
    )
    format: Literal["text", "json"] = Field(
        "text", description="`json`: a JSON object per line, for machines."
    )
    prompts: bool = Field(
        False, description="Also every prompt as a model saw it, and what the model wrote."
    )


class ServerConfig(Settings):
    """The HTTP port. A changed host or port restarts the listener, and nothing touches a model."""

    host: Annotated[str, AfterValidator(_check_host), OnChange("Listen")] = Field(
        "127.0.0.1", description="Address to bind; other than loopback needs an API key."
    )
    port: Annotated[int, Field(ge=0, le=65_535), OnChange("Listen")] = Field(
        1234, description="TCP port; 0 takes a free one."
    )
    cors: Annotated[
        Literal[False] | Annotated[tuple[Origin, ...], Field(min_length=1, strict=False)],
        BeforeValidator(_check_cors),
    ] = Field(
        False, description="Browser origins that may call the API, exactly; false allows none."
    )
    api_keys: Annotated[tuple[ApiKey, ...], Field(strict=False)] = Field(
        (), description="Keys of which a request must carry one. None: no key is asked for."
    )
    allowed_hosts: Annotated[tuple[HostName, ...], Field(strict=False)] = Field(
        (), description="Further Host names that clients may use (containers, LAN names)."
    )
    jit: JitConfig = Field(JitConfig(), description="Just-in-time loading.")
    memory: MemoryConfig = Field(MemoryConfig(), description="What all models may take.")
    limits: Limits = Field(Limits(), description="Bounds of requests and queues.")
    compat: Compat = Field(Compat(), description="For clients that are less strict.")
    log: LogConfig = Field(LogConfig(), description="The server's log.")
    mcp: McpDoor = Field(McpDoor(), description="MCP servers that requests bring along.")


class InstanceConfig(Settings):
    """One of several instances of a model."""

    identifier: Annotated[Identifier, OnChange("Load or Unload")] = Field(
        description="The name clients use for the instance."
    )
    load: Annotated[LoadConfig, OnChange("Reload")] = Field(
        LoadConfig(), description="Load settings in which it differs from its model."
    )


class ModelConfig(Settings):
    """A declared model."""

    source: Annotated[str, AfterValidator(_check_source), OnChange("Reload")] = Field(
        description="Where the file is: `file:./m.gguf` (relative to this profile) or "
        "`package:NAME==VERSION/path/in/package.gguf` (a PyPI distribution)."
    )
    state: Annotated[Literal["loaded", "on_demand", "absent"], OnChange("Load or Unload")] = Field(
        "loaded",
        description="`loaded`: kept in memory. `on_demand`: loaded by the first request. "
        "`absent`: declared, not loaded.",
    )
    identifier: Annotated[Identifier | None, OnChange("Load or Unload")] = Field(
        None, description="The name clients use for the instance. Default: the model key."
    )
    instances: Annotated[
        tuple[InstanceConfig, ...], Field(max_length=16, strict=False), OnChange("Load or Unload")
    ] = Field(
        (),
        description="Several instances instead of one. Requests to the model key go to the least "
        "busy one.",
    )
    ttl: Annotated[Ttl | None, OnChange("Update")] = Field(
        None,
        description="How long it may be idle when a request has loaded it. Default: "
        "`server.jit.ttl`. What is declared `loaded` stays.",
    )
    pinned: Annotated[bool, OnChange("Update")] = Field(
        False,
        description="Once loaded by a request it stays: no TTL, and never evicted for another.",
    )
    load: Annotated[LoadConfig, OnChange("Reload")] = Field(
        LoadConfig(), description="What is fixed when the model is loaded."
    )
    rollout: Annotated[Literal["blue_green", "recreate"], OnChange("nothing")] = Field(
        "blue_green",
        description="How a Reload replaces the instance. `blue_green`: the new one is loaded and "
        "tried out beside the old one, where memory holds both. `recreate`: requests wait until "
        "the old one has finished and the new one is loaded.",
    )
    drain_timeout: Annotated[Annotated[Duration, Field(gt=0)] | None, OnChange("nothing")] = Field(
        None,
        description="How long answers of a replaced instance may go on. Default: to their end, "
        "which `server.limits.request_time` bounds.",
    )
    prompt_template: Annotated[PromptTemplate | None, OnChange("Reload")] = Field(
        None, description="A chat template instead of the model's own, which it may lack."
    )
    preset: Annotated[PresetName | None, OnChange("Update")] = Field(
        None, description="A preset of this profile."
    )
    prewarm: Annotated[
        tuple[PresetName, ...], Field(max_length=64, strict=False), OnChange("Update")
    ] = Field((), description="Presets whose system prompts are computed when the model is loaded.")
    deterministic: Annotated[Literal["off", "strict"], OnChange("Update")] = Field(
        "off",
        description="`strict`: requests that do not say otherwise give the same tokens for the "
        "same seed, whatever else runs.",
    )


class Profile(Settings):
    """What should be: the whole file, overlays merged and references resolved."""

    version: Annotated[Literal[1], BeforeValidator(_check_version), OnChange("nothing")] = Field(
        description="The format's version."
    )
    include: Annotated[tuple[str, ...], Field(strict=False), OnChange("nothing")] = Field(
        (), description="Profiles to lay beneath this one, in order; later wins, lists replace."
    )
    server: Annotated[ServerConfig, OnChange("Update")] = Field(
        ServerConfig(), description="The HTTP port."
    )
    drift: Annotated[DriftPolicy, OnChange("nothing")] = Field(
        "report",
        description="What becomes of what clients load and unload by hand. `report`: it stays, "
        "shown by `lmrun status`, until a profile is applied; `revert`: it is undone at once; "
        "`adopt`: it is written into the profile's files.",
    )
    models: dict[ModelKey, ModelConfig] = Field(
        default_factory=dict, description="The models to run, by model key."
    )
    presets: Annotated[dict[PresetName, Preset], OnChange("Update")] = Field(
        default_factory=dict, description="Named defaults for requests, by name."
    )
    tools: Annotated[dict[ToolKey, ToolConfig], Field(max_length=MAX_TOOLS), OnChange("Update")] = (
        Field(default_factory=dict, description="Tools that the server runs, by name.")
    )
    mcp_servers: Annotated[
        dict[McpServerName, McpServerConfig], Field(max_length=64), OnChange("Update")
    ] = Field(default_factory=dict, description="Servers of the Model Context Protocol, by name.")
    agents: Annotated[dict[AgentName, AgentConfig], Field(max_length=256), OnChange("Update")] = (
        Field(
            default_factory=dict,
            description="Models with tools, by the name that clients ask for as a model.",
        )
    )
    policy: Annotated[PolicyConfig, OnChange("Update")] = Field(
        PolicyConfig(), description="Who may run which tool with what."
    )
    checks: Annotated[dict[CheckName, Check], OnChange("nothing")] = Field(
        default_factory=dict,
        description="What models are asked by `lmrun check`, and what they must answer, by name. "
        "A change touches nothing that runs.",
    )
