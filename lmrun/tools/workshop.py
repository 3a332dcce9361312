"""The tools room as one: what the applied profile declares, ready to be used. It knows no API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.errors import LmrunError
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import Profile
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.profile.tooling.naming import matches
from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.commands.tool import CommandTool
from lmrun.tools.functions.host import FunctionHost
from lmrun.tools.http.tool import HttpTool
from lmrun.tools.mcp.host import McpHost
from lmrun.tools.policy.gate import Gate
from lmrun.tools.tool import Tool

log = logging.getLogger("lmrun.tools")


_Functions = dict[str, tuple[ToolConfig, Path]]


@dataclass(slots=True)
class _Declared:
    """The tools of one generation, but those of MCP servers. `faults`: why one is missing."""

    tools: Mapping[str, Tool] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    functions: FunctionHost | None = None
    made_of: _Functions = field(default_factory=dict)


class Workshop:
    """Follows the profile that `find_loaded` gives while `run` runs; `wake` says that it may have
    changed. `environment`: that of the server, of which tools see what their profile names."""

    def __init__(
        self,
        mcp: McpHost,
        gate: Gate,
        environment: Mapping[str, str],
        find_loaded: Callable[[], LoadedProfile | None],
    ) -> None:
        self.mcp = mcp
        self.gate = gate
        self._environment = environment
        self._find_loaded = find_loaded
        self._declared = _Declared()
        self._adopted: LoadedProfile | None = None
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()

    @property
    def profile(self) -> Profile | None:
        loaded = self._find_loaded()
        return loaded.profile if loaded is not None else None

    @property
    def agents(self) -> Mapping[str, AgentConfig]:
        return self.profile.agents if self.profile is not None else {}

    @property
    def faults(self) -> Mapping[str, str]:
        """Declared tools that are not there, each with the reason."""
        return self._declared.faults

    def toolset(self, patterns: Sequence[str]) -> PatternToolset:
        """The tools that `patterns` mean, whatever the profile declares by the time."""
        return PatternToolset(self, tuple(patterns))

    async def declared_tools(self) -> Mapping[str, Tool]:
        """Functions, commands and requests of the newest profile, by what it calls them."""
        async with self._settled:
            await self._settled.wait_for(lambda: self._adopted is self._find_loaded())
        return self._declared.tools

    def wake(self) -> None:
        """The profile may have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Adopt what is applied, until cancelled; then end everything that was started."""
        try:
            while True:
                loaded = self._find_loaded()
                if loaded is not self._adopted:
                    await self._adopt(loaded)
                    async with self._settled:
                        self._adopted = loaded
                        self._settled.notify_all()
                await self._wake.wait()
                self._wake.clear()
        finally:
            await self.mcp.close()
            if self._declared.functions is not None:
                await self._declared.functions.close()

    async def _adopt(self, loaded: LoadedProfile | None) -> None:
        profile = loaded.profile if loaded is not None else Profile(version=1)
        dirs = loaded.tool_dirs if loaded is not None else {}
        old = self._declared
        self._declared = await self._make(profile, dirs)
        for name, fault in self._declared.faults.items():
            log.error("tool %s: %s", name, fault)
        await self.mcp.adopt(profile.mcp_servers, loaded.mcp_dirs if loaded is not None else {})
        if old.functions is not None and old.functions is not self._declared.functions:
            await old.functions.close()

    async def _make(self, profile: Profile, dirs: Mapping[str, Path]) -> _Declared:
        tools: dict[str, Tool] = {}
        faults: dict[str, str] = {}
        made_of = {key: (it, dirs[key]) for key, it in profile.tools.items() if it.python}
        functions = await self._open_functions(made_of)
        if functions is not None:
            tools |= functions.tools
            faults |= functions.faults
        for key, config in profile.tools.items():
            try:
                if config.command is not None:
                    tools[key] = CommandTool(key, config, dirs[key], self._environment)
                elif config.http is not None:
                    tools[key] = HttpTool(key, config)
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


class PatternToolset:
    """Those tools whose path in the profile fits one of `patterns`."""

    def __init__(self, workshop: Workshop, patterns: tuple[str, ...]) -> None:
        self._workshop = workshop
        self._patterns = patterns

    async def tools(self) -> Sequence[Tool]:
        """Every one, no name twice: what the profile declares comes before MCP servers' tools."""
        declared = await self._workshop.declared_tools()
        found = {tool.spec.name: tool for tool in declared.values() if self._fits(tool)}
        for server in self._servers():
            for tool in await self._workshop.mcp.tools(server):
                if self._fits(tool):
                    found.setdefault(tool.spec.name, tool)
        return tuple(found.values())

    def _fits(self, tool: Tool) -> bool:
        return any(matches(pattern, tool.spec.path) for pattern in self._patterns)

    def _servers(self) -> list[str]:
        """The servers that a pattern speaks of; others need not be started."""
        profile = self._workshop.profile
        servers = profile.mcp_servers if profile is not None else {}
        asked = [pattern.split("/")[1] for pattern in self._patterns if pattern.startswith("mcp/")]
        return [
            name
            for name in servers
            if "*" in self._patterns or any(matches(part, name) for part in asked)
        ]
