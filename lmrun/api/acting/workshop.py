"""What dialects need of the tools room. It knows no model and no request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lmrun.profile.schema import Profile
from lmrun.tools.policy.gate import Ask, Gate, Verdict, Wish
from lmrun.tools.tool import Tool, ToolResult, Toolset


class Servers(Protocol):
    """The MCP servers that the profile declares."""

    async def definitions(self, server: str) -> Sequence[object]:
        """Its tools, offered or not. Raises McpError, OutboundRefused and OutboundFailed: why there
        are none."""


class Workshop(Protocol):
    """Tools and the policy of the profile that is applied now."""

    @property
    def profile(self) -> Profile | None: ...

    @property
    def gate(self) -> Gate: ...

    @property
    def mcp(self) -> Servers: ...

    @property
    def faults(self) -> Mapping[str, str]:
        """The profile's own tools that are not there, each with the reason."""

    def toolset(self, patterns: Sequence[str]) -> Toolset:
        """The tools whose path in the profile fits one of `patterns`."""


class EmptyWorkshop:
    """One without a profile: there are no tools, and none may be run."""

    profile: Profile | None = None
    faults: Mapping[str, str] = {}

    @property
    def gate(self) -> Gate:
        return self

    @property
    def mcp(self) -> Servers:
        return self

    def toolset(self, patterns: Sequence[str]) -> Toolset:
        return self

    async def definitions(self, server: str) -> Sequence[object]:
        return ()

    async def tools(self) -> Sequence[Tool]:
        return ()

    async def decide(self, wish: Wish, ask: Ask | None) -> Verdict:
        return Verdict(False, "there is no profile")

    def note(self, wish: Wish, verdict: Verdict, result: ToolResult | None, seconds: float) -> None:
        """There is no log."""
