"""An MCP host that is there when the first server is: the protocol's library takes nearly as long
to import as all the rest of lmrun, which nobody pays for who has no MCP server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lmrun.chat.messages import ImagePart, Message, TextPart
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.consent import ToolDefinition
from lmrun.tools.mcp.status import ServerStatus
from lmrun.tools.tool import Tool

if TYPE_CHECKING:
    from lmrun.tools.mcp.host import McpHost


async def import_host() -> type[McpHost]:
    """The class, imported beside the event loop."""
    module = await asyncio.to_thread(import_module, "lmrun.tools.mcp.host")
    host: type[McpHost] = module.McpHost
    return host


class LazyMcpHost:
    """`make`: the host, once what it needs is imported. Methods are those of McpHost."""

    def __init__(self, make: Callable[[], McpHost]) -> None:
        self._make = make
        self._made: McpHost | None = None
        self._making = asyncio.Lock()

    async def adopt(self, configs: Mapping[str, McpServerConfig], dirs: Mapping[str, Path]) -> None:
        """Declare these servers and no others."""
        if configs or self._made is not None:
            await (await self._host()).adopt(configs, dirs)

    async def tools(self, server: str) -> Sequence[Tool]:
        """What a server offers now. Raises McpError for one that nobody declared."""
        return await (await self._host()).tools(server)

    async def definitions(self, server: str) -> Sequence[ToolDefinition]:
        """A server's tools as it describes them. Raises what starting it raises."""
        return await (await self._host()).definitions(server)

    async def get_prompt(
        self, server: str, name: str, arguments: Mapping[str, str]
    ) -> tuple[Message, ...]:
        """A prompt of a server, filled in. Raises what starting it raises, and McpUnusable."""
        return await (await self._host()).get_prompt(server, name, arguments)

    async def read_resource(self, server: str, uri: str) -> str | tuple[TextPart | ImagePart, ...]:
        """A resource of a server. Raises what starting it raises, and McpUnusable."""
        return await (await self._host()).read_resource(server, uri)

    def statuses(self) -> Mapping[str, ServerStatus]:
        """Of every declared server."""
        return self._made.statuses() if self._made is not None else {}

    def recheck(self, server: str | None = None) -> None:
        """What was agreed to may have changed."""
        if self._made is not None:
            self._made.recheck(server)

    def give_up(self, server: str, reason: str) -> None:
        """End a server's session. Raises McpError for one that nobody declared."""
        if self._made is not None:
            self._made.give_up(server, reason)

    async def close(self) -> None:
        """End every server."""
        if self._made is not None:
            await self._made.close()

    async def _host(self) -> McpHost:
        async with self._making:
            if self._made is None:
                await import_host()
                self._made = self._make()
        return self._made
