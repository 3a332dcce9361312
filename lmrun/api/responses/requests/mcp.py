"""Tools of MCP servers, which the server itself runs while it answers. It knows no item.

Format: `Mcp` of OpenAI's reference.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from lmrun.api.fields import NO_EFFECT, SAYS_ALL, only
from lmrun.profile.tooling.mcp import McpServerName
from lmrun.settings.base import Settings

ToolNames = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=128)], ...],
    Field(max_length=256, strict=False),
]


class ToolFilter(Settings):
    """Some tools of a server."""

    tool_names: ToolNames = ()
    read_only: Annotated[Any, only()] = Field(
        None, description="What a server says of its own tools is not believed."
    )


class Approval(Settings):
    """Whether the client is asked, for single tools; about all others it is."""

    always: ToolFilter = ToolFilter()
    never: ToolFilter = ToolFilter()


class McpTool(Settings):
    """The tools of an MCP server: one that the profile declares, by its name there, or one that
    `server_url` brings along."""

    type: Literal["mcp"]
    server_label: McpServerName
    server_url: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        None, description="Where the profile's `server.mcp.ephemeral` allows it."
    )
    headers: Annotated[dict[str, str] | None, Field(max_length=32)] = Field(
        None, description="Sent to that server with every request, and to nobody else."
    )
    authorization: Annotated[str, Field(min_length=1, max_length=16_384)] | None = Field(
        None, description="A token for that server, sent as `Authorization: Bearer …`."
    )
    allowed_tools: ToolNames | ToolFilter | None = Field(
        None, description="The only tools that are offered; left out, all are."
    )
    require_approval: Literal["always", "never"] | Approval | None = Field(
        None,
        description="Whether a call waits for an `mcp_approval_response`; `always` if left out. "
        "`never` counts where the policy allows the call.",
    )
    server_description: Annotated[str, Field(max_length=16_384)] | None = Field(
        None, json_schema_extra=NO_EFFECT, description="Each tool has a description of its own."
    )
    allowed_callers: Annotated[Any, only(["direct"])] = None
    defer_loading: Annotated[Any, only(False)] = None
    connector_id: Annotated[Any, only()] = Field(None, description="A provider's; none is here.")
    tunnel_id: Annotated[Any, only()] = Field(None, description="A provider's; none is here.")

    @model_validator(mode="after")
    def _sends_headers_only_along_a_url(self) -> McpTool:
        for name in ("headers", "authorization"):
            if getattr(self, name) is not None and self.server_url is None:
                raise PydanticCustomError(
                    SAYS_ALL,
                    "`{name}` needs `server_url`: the profile has those of the servers that it "
                    "declares",
                    {"name": name},
                )
        return self

    @property
    def allowed(self) -> tuple[str, ...] | None:
        """The only tools that are offered, None: all."""
        if isinstance(self.allowed_tools, ToolFilter):
            return self.allowed_tools.tool_names
        return self.allowed_tools

    @property
    def all_headers(self) -> dict[str, str]:
        """What is sent to the server of `server_url`."""
        headers = dict(self.headers or {})
        if self.authorization is not None:
            headers["Authorization"] = f"Bearer {self.authorization}"
        return headers

    def needs_approval(self, tool: str) -> bool:
        """Whether the client wants to be asked about a call of `tool`."""
        if isinstance(self.require_approval, Approval):
            return tool not in self.require_approval.never.tool_names
        return self.require_approval != "never"


class NamedMcpTool(Settings):
    """A tool of a server, or with no name all of them."""

    type: Literal["mcp"]
    server_label: McpServerName
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
