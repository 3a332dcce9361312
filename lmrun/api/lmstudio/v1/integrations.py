"""`integrations`: tools that the server runs while it answers. It knows no model.

Format: lmstudio-ai/docs, `1_developer/2_rest/chat.md`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from lmrun.profile.tooling.mcp import McpServerName
from lmrun.settings.base import Settings

MAX_INTEGRATIONS = 32
OWN_TOOLS = "tools"
"""The plugin that holds the profile's own tools; `tools/<name>` is one of them."""

_PLUGIN_PATTERN = r"^(mcp/[A-Za-z0-9_-]{1,64}|tools(/[A-Za-z0-9_-]{1,64})?)$"

AllowedTools = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=128)], ...],
    Field(min_length=1, max_length=256, strict=False),
]


class Plugin(Settings):
    """Tools that the profile declares."""

    type: Literal["plugin"]
    id: Annotated[str, StringConstraints(pattern=_PLUGIN_PATTERN)] = Field(
        description="`mcp/<name>`: a server of `mcp_servers`; `tools`: all of `tools`, "
        "`tools/<name>`: one of them."
    )
    allowed_tools: AllowedTools | None = Field(
        None, description="Names of the only tools that are offered; left out, all are."
    )


class EphemeralMcp(Settings):
    """An MCP server for this request alone, where the profile's `server.mcp.ephemeral` allows
    it."""

    type: Literal["ephemeral_mcp"]
    server_label: McpServerName
    server_url: Annotated[str, Field(min_length=1, max_length=4096)]
    allowed_tools: AllowedTools | None = Field(
        None, description="Names of the only tools that are offered; left out, all are."
    )
    headers: Annotated[dict[str, str] | None, Field(max_length=32)] = Field(
        None, description="Sent to the server with every request, and to nobody else."
    )


def _to_plugin(value: Any) -> Any:
    return {"type": "plugin", "id": value} if isinstance(value, str) else value


Integration = Annotated[Plugin | EphemeralMcp, Field(discriminator="type")]
Integrations = Annotated[
    tuple[Annotated[Integration, BeforeValidator(_to_plugin)], ...],
    Field(max_length=MAX_INTEGRATIONS, strict=False),
]
"""A string is a plugin's id."""
