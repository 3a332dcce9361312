"""A workshop with tools that tests bring: the profile's own, and those of an MCP server `time`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmrun.errors import LmrunError
from lmrun.profile.schema import Profile
from lmrun.profile.tooling.policy import Decision
from lmrun.tools.tool import OnProgress, Tool, ToolProgress, ToolResult, ToolSpec
from tests.support.rounds import FewTools, SpecGate

ZONE = {
    "type": "object",
    "properties": {"zone": {"type": "string"}},
    "required": ["zone"],
    "additionalProperties": False,
}


@dataclass
class TimeTool:
    """Tells the time of a zone, as it is told to: `error` says why it fails. `calls`: what it was
    called with. `never`: it does not come back until it is cancelled."""

    own_name: str = "now"
    policy: Decision = "allow"
    error: Any = None
    never: bool = False
    is_untrusted: bool = False
    is_exported: bool = False
    path: str | None = None
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    cancelled: int = 0

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(
            self.path or f"mcp/time/{self.own_name}",
            self.path or f"time__{self.own_name}",
            f"The time, by {self.own_name}.",
            ZONE,
            self.policy,
            frozenset({"network"}),
            is_untrusted=self.is_untrusted,
            is_exported=self.is_exported,
        )

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        self.calls.append(arguments)
        on_progress(ToolProgress(1.0, 2.0, "half"))
        if self.never:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if self.error is not None:
            return ToolResult(f"no time: {self.error}", error=self.error)
        return ToolResult(f"12:00 in {arguments['zone']}")


@dataclass
class ToolShop:
    """`tools` are there; `failure`: why the server `time` cannot be started. `profile`: declares
    what `tools` has, `server` besides."""

    tools: list[Tool] = field(default_factory=list)
    server: dict[str, Any] = field(default_factory=dict)
    failure: LmrunError | None = None
    gate: Any = field(default_factory=SpecGate)
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def profile(self) -> Profile:
        own = [it.spec for it in self.tools if not it.spec.path.startswith("mcp/")]
        tools = {it.name: {"python": "t:f", "export": it.is_exported} for it in own}
        servers = {"time": {"command": ["time-server"], "tools": {"allow": ["*"]}}}
        return Profile.model_validate(
            {"version": 1, "tools": tools, "mcp_servers": servers, "server": {"mcp": self.server}}
        )

    @property
    def mcp(self) -> ToolShop:
        return self

    async def definitions(self, server: str) -> Sequence[object]:
        if self.failure is not None:
            raise self.failure
        return ()

    def toolset(self, patterns: Sequence[str]) -> FewTools:
        return FewTools(self.tools, patterns)
