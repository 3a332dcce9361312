"""A remote MCP server that a request brings along, for as long as the request takes.

It knows no request. Whether such a server may be reached at all is decided before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmrun.errors import ModelNotFound
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.backoff import Backoff
from lmrun.tools.mcp.consent import Fault, ToolDefinition
from lmrun.tools.mcp.lazy_host import import_host
from lmrun.tools.models import Generate
from lmrun.tools.tool import OnProgress, Tool, ToolResult, ToolSpec

if TYPE_CHECKING:
    from lmrun.tools.mcp.host import McpHost

START_TIMEOUT = "15s"


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """`headers`: sent to it with every request; they may be credentials. `allow_private`: its
    address may be one of this network."""

    label: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_private: bool = False


@asynccontextmanager
async def open_ephemeral(server: Ephemeral) -> AsyncIterator[EphemeralTools]:
    """All its tools, while the block runs. Raises McpError, OutboundRefused and OutboundFailed."""
    config = McpServerConfig.model_validate(
        {
            "url": server.url,
            "headers": dict(server.headers),
            "private": server.allow_private,
            "tools": {"allow": ["*"]},
            "start_timeout": START_TIMEOUT,
        }
    )
    make_host = await import_host()
    host = make_host({}, _NoModels(), _Requested(), backoff=Backoff(most=1), are_declared=False)
    try:
        await host.adopt({server.label: config}, {server.label: Path("/")})
        await host.definitions(server.label)
        yield EphemeralTools(host, server.label)
    finally:
        await host.close()


@dataclass(frozen=True, slots=True)
class EphemeralTools:
    """A toolset. No rule of a profile means one of these tools by its name: a request chooses that
    as it likes. Who may bring a server along may have its tools run, as far as no rule about all
    tools says otherwise."""

    host: McpHost
    label: str

    async def tools(self) -> Sequence[Tool]:
        return [_EphemeralTool(tool) for tool in await self.host.tools(self.label)]


@dataclass(frozen=True, slots=True)
class _EphemeralTool:
    tool: Tool

    @property
    def spec(self) -> ToolSpec:
        spec = self.tool.spec
        path = f"ephemeral/{spec.path.removeprefix('mcp/')}"
        return replace(spec, path=path, policy="allow", declared=None)

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        return await self.tool.call(arguments, on_progress)


class _Requested:
    """Consent to what the request itself asks for."""

    def may_start(self, server: str, config: McpServerConfig, directory: Path) -> Fault | None:
        return None

    def may_use(self, server: str, definition: ToolDefinition) -> Fault | None:
        return None


class _NoModels:
    """It is offered no sampling, so it cannot ask for any."""

    def open(self, model: str) -> AbstractAsyncContextManager[Generate]:
        raise ModelNotFound(f"No model is there for {model!r}.")
