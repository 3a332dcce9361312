"""Prompts and resources of declared MCP servers as what a run begins with. It knows no session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lmrun.errors import McpError, McpNotFound, OutboundFailed, OutboundRefused
from lmrun.profile.tooling.effective import (
    PROMPT_TOOL,
    RESOURCE_TOOL,
    mcp_effects_of,
    mcp_policy_of,
    prompt_policy_of,
)
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.profile.tooling.naming import mcp_name, mcp_path
from lmrun.profile.tooling.references import split_reference
from lmrun.tools.act.opening import ContextItem, Opened, Opening, PromptWish, ResourceWish
from lmrun.tools.act.sources import Source
from lmrun.tools.mcp.lazy_host import LazyMcpHost
from lmrun.tools.mcp.renaming import renamed
from lmrun.tools.tool import ToolSpec


def find_sources(
    opening: Opening, servers: Mapping[str, McpServerConfig], host: LazyMcpHost
) -> Sequence[Source]:
    """All that is to be read. Raises McpNotFound for a server that is none of `servers`."""
    found: list[Source] = []
    if opening.prompt is not None:
        found.append(PromptSource(opening.prompt, _find(opening.prompt.reference, servers), host))
    for wish in opening.context:
        found.append(ResourceSource(wish, _find(wish.reference, servers), host))
    return found


@dataclass(frozen=True, slots=True)
class PromptSource:
    """A prompt. `prompts: true` is the agreement to ask for it, unless all is denied."""

    wish: PromptWish
    config: McpServerConfig
    host: LazyMcpHost

    @property
    def reference(self) -> str:
        return self.wish.reference

    @property
    def arguments(self) -> Mapping[str, Any]:
        _, name = split_reference(self.reference)
        return {"name": name, "arguments": self.wish.arguments}

    @property
    def spec(self) -> ToolSpec:
        server, _ = split_reference(self.reference)
        return ToolSpec(
            path=mcp_path(server, PROMPT_TOOL),
            name=mcp_name(server, PROMPT_TOOL),
            description=f"Begin with a prompt of the server {server}.",
            parameters={},
            policy=prompt_policy_of(self.config),
            effects=frozenset(),
            is_untrusted=self.config.untrusted,
        )

    async def read(self) -> Opened:
        """Its messages. Raises McpError, OutboundRefused and OutboundFailed."""
        server, name = split_reference(self.reference)
        with _naming(self.reference):
            messages = await self.host.get_prompt(server, name, self.wish.arguments)
        return Opened(prompt=messages, is_untrusted=self.config.untrusted)


@dataclass(frozen=True, slots=True)
class ResourceSource:
    """A resource. Whoever declares it agrees to its being read; about one that a request names,
    the same is decided as about a model's wish to read it."""

    wish: ResourceWish
    config: McpServerConfig
    host: LazyMcpHost

    @property
    def reference(self) -> str:
        return self.wish.reference

    @property
    def arguments(self) -> Mapping[str, Any]:
        return {"uri": split_reference(self.reference)[1]}

    @property
    def spec(self) -> ToolSpec:
        server, _ = split_reference(self.reference)
        policy = mcp_policy_of(self.config, RESOURCE_TOOL)
        is_asked = self.wish.is_asked
        return ToolSpec(
            path=mcp_path(server, RESOURCE_TOOL),
            name=mcp_name(server, RESOURCE_TOOL),
            description=f"Read a resource of the server {server} before the task.",
            parameters={},
            policy="allow" if policy == "ask" and not is_asked else policy,
            effects=mcp_effects_of(self.config, RESOURCE_TOOL) if is_asked else frozenset(),
            is_untrusted=self.config.untrusted,
        )

    async def read(self) -> Opened:
        """Its contents. Raises McpError, OutboundRefused and OutboundFailed."""
        server, uri = split_reference(self.reference)
        with _naming(self.reference):
            content = await self.host.read_resource(server, uri)
        item = ContextItem(self.reference, content)
        return Opened(context=(item,), is_untrusted=self.config.untrusted)


def _find(reference: str, servers: Mapping[str, McpServerConfig]) -> McpServerConfig:
    server, _ = split_reference(reference)
    if server not in servers:
        raise McpNotFound(
            f"{reference}: the profile declares no MCP server {server!r}.",
            hint=f"Declared are: {', '.join(sorted(servers)) or 'none'}.",
        )
    return servers[server]


@contextmanager
def _naming(reference: str) -> Iterator[None]:
    try:
        yield
    except (McpError, OutboundFailed, OutboundRefused) as error:
        raise renamed(error, f"{reference}: {error.message}") from None
