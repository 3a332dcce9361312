"""The tools room as one: what the applied profile declares, ready to be used. It knows no API."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

from lmrun.errors import LmrunError, ToolsMissing
from lmrun.profile.schema import Profile
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.profile.tooling.naming import matches
from lmrun.profile.tooling.section import Tooling
from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.act.opening import Opening
from lmrun.tools.act.sources import Source
from lmrun.tools.commands.tool import CommandTool
from lmrun.tools.functions.host import FunctionHost
from lmrun.tools.mcp.lazy_host import LazyMcpHost
from lmrun.tools.mcp.sources import find_sources
from lmrun.tools.policy.gate import Gate
from lmrun.tools.tool import Tool

log = logging.getLogger("lmrun.tools")

_Functions = dict[str, tuple[ToolConfig, Path]]


@dataclass(slots=True)
class _Declared:
    """The tools that a profile declares itself. `faults`: why one is missing."""

    tools: Mapping[str, Tool] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    functions: FunctionHost | None = None
    made_of: _Functions = field(default_factory=dict)


class Workshop:
    """`environment`: that of the server, of which tools see what their profile names.
    `find_profile`: the one that is applied. `tooling`: by what tools are run."""

    def __init__(
        self,
        mcp: LazyMcpHost,
        gate: Gate,
        environment: Mapping[str, str],
        find_profile: Callable[[], Profile | None],
    ) -> None:
        self.mcp = mcp
        self.gate = gate
        self.tooling = Tooling()
        self._environment = environment
        self._find_profile = find_profile
        self._declared = _Declared()

    @property
    def profile(self) -> Profile | None:
        return self._find_profile()

    @property
    def agents(self) -> Mapping[str, AgentConfig]:
        """By the name that requests give as their model."""
        return self.tooling.agents

    @property
    def declared(self) -> Mapping[str, Tool]:
        """Functions, commands and requests, by what the profile calls them."""
        return self._declared.tools

    @property
    def faults(self) -> Mapping[str, str]:
        """Declared tools that are not there, each with the reason."""
        return self._declared.faults

    def toolset(self, patterns: Sequence[str]) -> PatternToolset:
        """The tools that `patterns` mean, whatever the profile declares by the time."""
        return PatternToolset(self, tuple(patterns))

    def sources(self, opening: Opening) -> Sequence[Source]:
        """What a run begins with. Raises McpNotFound for a server that is not declared by now."""
        return find_sources(opening, self.tooling.mcp_servers, self.mcp)

    async def adopt(self, tooling: Tooling) -> None:
        """Run tools by `tooling` from now on; calls under way go on. Raises ToolsMissing when not
        all that it declares can be had; the others are there."""
        old, self._declared = self._declared, await self._make(tooling)
        await self.mcp.adopt(tooling.mcp_servers, tooling.mcp_dirs)
        # Only what is missing keeps it from being what was wanted: it is tried again.
        missing = {key: tooling.tools[key] for key in self._declared.faults}
        there = {key: it for key, it in tooling.tools.items() if key not in missing}
        self.tooling = replace(tooling, tools=there) if missing else tooling
        if old.functions is not None and old.functions is not self._declared.functions:
            await old.functions.close()
        if missing:
            faults = self._declared.faults
            raise ToolsMissing("; ".join(f"{key}: {faults[key]}" for key in sorted(faults)))

    async def close(self) -> None:
        """End every process and session."""
        functions, self._declared = self._declared.functions, _Declared()
        closing = [self.mcp.close(), *([functions.close()] if functions is not None else [])]
        await asyncio.gather(*closing)

    async def _make(self, tooling: Tooling) -> _Declared:
        tools: dict[str, Tool] = {}
        faults: dict[str, str] = {}
        dirs = tooling.tool_dirs
        made_of = {key: (it, dirs[key]) for key, it in tooling.tools.items() if it.python}
        functions = await self._open_functions(made_of)
        if functions is not None:
            tools |= functions.tools
            faults |= functions.faults
        for key, config in tooling.tools.items():
            try:
                if config.command is not None:
                    tools[key] = CommandTool(key, config, dirs[key], self._environment)
                elif config.http is not None:
                    tools[key] = await _make_http_tool(key, config)
            except LmrunError as error:
                faults[key] = str(error)
        return _Declared(tools, faults, functions, made_of)

    async def _open_functions(self, made_of: _Functions) -> FunctionHost | None:
        """Those that run already, where the profile says nothing new of them; what could not be
        imported is tried again."""
        now = self._declared.functions
        if now is not None and made_of == self._declared.made_of and not now.faults:
            return now
        if not made_of:
            return None
        configs = {key: config for key, (config, _) in made_of.items()}
        dirs = {key: directory for key, (_, directory) in made_of.items()}
        return await FunctionHost.open(configs, dirs, self._environment)


async def _make_http_tool(key: str, config: ToolConfig) -> Tool:
    # Imported late, and beside the event loop: only profiles with such tools need a client.
    module = await asyncio.to_thread(import_module, "lmrun.tools.http.tool")
    tool: Tool = module.HttpTool(key, config)
    return tool


class PatternToolset:
    """Those tools whose path in the profile fits one of `patterns`."""

    def __init__(self, workshop: Workshop, patterns: tuple[str, ...]) -> None:
        self._workshop = workshop
        self._patterns = patterns

    async def tools(self) -> Sequence[Tool]:
        """Every one, no name twice: what the profile declares comes before MCP servers' tools."""
        declared = self._workshop.declared.values()
        found = {tool.spec.name: tool for tool in declared if self._fits(tool)}
        # At once: one that is slow to start keeps the others from nothing.
        offered = await asyncio.gather(*map(self._workshop.mcp.tools, self._servers()))
        for tool in itertools.chain.from_iterable(offered):
            if self._fits(tool):
                found.setdefault(tool.spec.name, tool)
        return tuple(found.values())

    def _fits(self, tool: Tool) -> bool:
        return any(matches(pattern, tool.spec.path) for pattern in self._patterns)

    def _servers(self) -> list[str]:
        """The servers that a pattern speaks of; others need not be started."""
        servers = self._workshop.tooling.mcp_servers
        asked = [pattern.split("/")[1] for pattern in self._patterns if pattern.startswith("mcp/")]
        return [
            name
            for name in servers
            if "*" in self._patterns or any(matches(part, name) for part in asked)
        ]
