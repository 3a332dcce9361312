"""MCP servers that a profile declares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from lmrun.profile.tooling.naming import SERVER_PATTERN
from lmrun.profile.tooling.policy import Decision
from lmrun.profile.tooling.tools import Effect, Positive, VariableName
from lmrun.settings.base import Settings
from lmrun.settings.bounds import ModelName
from lmrun.settings.quantities import Size
from lmrun.settings.secret import Confidential, HiddenText

MCP_URL_PATTERN = r"^https?://\S+$"

McpServerName = Annotated[str, StringConstraints(pattern=SERVER_PATTERN, max_length=32)]
McpToolName = Annotated[str, Field(min_length=1, max_length=128)]


class McpTools(Settings):
    """Which of a server's tools are offered."""

    allow: Annotated[tuple[McpToolName, ...], Field(max_length=256, strict=False)] = Field(
        (), description="Names, or patterns with `*`; none: none is offered."
    )
    deny: Annotated[tuple[McpToolName, ...], Field(max_length=256, strict=False)] = Field(
        (), description="Names or patterns that are not offered after all."
    )
    policy: dict[McpToolName, Decision] = Field(
        default_factory=dict, description="Decisions for single tools."
    )
    idempotent: Annotated[tuple[McpToolName, ...], Field(max_length=256, strict=False)] = Field(
        (), description="Tools that may be run again when it is unknown whether they were."
    )
    effects: dict[McpToolName, Annotated[tuple[Effect, ...], Field(strict=False)]] = Field(
        default_factory=dict,
        description="What calls of single tools may do, `[]` for none. Default: "
        "`[write, network]`. What the server says of itself is not believed.",
    )


class Sampling(Settings):
    """A model that answers what the server asks of one."""

    model: ModelName = Field(description="A declared model, by key or identifier.")
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1000, description="Longest answer, whatever the server asks for."
    )
    token_budget: Annotated[int, Field(ge=1)] = Field(
        20_000,
        description="Prompts and answers together, until its declaration changes or lmrun is "
        "started again.",
    )


class OAuth(Settings):
    """How lmrun introduces itself to the authorization server of a remote MCP server."""

    client_id: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None, description="Where lmrun is registered there. Default: it registers itself."
    )
    scopes: Annotated[tuple[str, ...], Field(max_length=64, strict=False)] = Field(
        (), description="What is asked for. Default: what the server says it needs."
    )


class McpServerConfig(Settings):
    """An MCP server: a `command` that is started when it is first needed, or a `url`."""

    command: Annotated[
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...],
            Field(min_length=1, max_length=256, strict=False),
        ]
        | None,
        Confidential(),
    ] = Field(None, description="A program and its arguments, run without a shell.")
    url: Annotated[
        Annotated[str, Field(pattern=MCP_URL_PATTERN, max_length=4096)] | None, Confidential()
    ] = Field(None, description="A remote server; https, except on this machine.")
    transport: Literal["streamable_http", "sse"] = Field(
        "streamable_http", description="How a remote server is spoken to."
    )
    headers: dict[str, HiddenText] = Field(
        default_factory=dict, description="Sent to a remote server with every request."
    )
    env: dict[VariableName, HiddenText] = Field(
        default_factory=dict,
        description="Variables of a command's environment, beside PATH, HOME, LANG and TMPDIR.",
    )
    cwd: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        None, description="Where a command runs, relative to this profile. Default: its directory."
    )
    oauth: OAuth | None = Field(
        None, description="For remote servers that ask for OAuth 2.1; `lmrun mcp login` does it."
    )
    private: bool = Field(
        False, description="`url` may have an address that is not public, other than loopback."
    )
    tools: McpTools = Field(McpTools(), description="Which tools are offered; absent: none.")
    policy: Decision = Field("ask", description="Who decides whether a call is run.")
    untrusted: bool = Field(
        True, description="Its results are content from elsewhere, which may hold instructions."
    )
    resources: bool = Field(
        False, description="Its resources can be read, with a tool of lmrun's and as `context`."
    )
    prompts: bool = Field(False, description="Presets can take their messages from its prompts.")
    roots: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...],
        Field(max_length=64, strict=False),
    ] = Field((), description="Directories that it is told it may use, relative to this profile.")
    sampling: Sampling | None = Field(None, description="It may ask a model. Default: it may not.")
    elicitation: bool = Field(False, description="It may ask the user questions.")
    timeout: Positive = Field(
        30.0, description="Longest time for a call.", json_schema_extra={"default": "30s"}
    )
    start_timeout: Positive = Field(
        30.0, description="Longest time until it is ready.", json_schema_extra={"default": "30s"}
    )
    max_output: Size = Field(
        64 * 2**10,
        description="Longest result; of a longer one, beginning and end are kept.",
        json_schema_extra={"default": "64KiB"},
    )

    @model_validator(mode="after")
    def _is_here_or_there(self) -> McpServerConfig:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either a `command` or a `url`")
        remote = {"headers": self.headers, "oauth": self.oauth, "private": self.private}
        local = {"env": self.env, "cwd": self.cwd}
        wrong, owner = (remote, "url") if self.url is None else (local, "command")
        for name, value in wrong.items():
            if value:
                raise ValueError(f"`{name}` belongs to servers with a `{owner}`")
        return self
