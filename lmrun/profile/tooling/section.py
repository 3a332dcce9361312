"""All that a profile says about tools, as one value: what is compared when another is applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.profile.loader import LoadedProfile
from lmrun.profile.presets import Preset
from lmrun.profile.text import nodes
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.profile.tooling.policy import PolicyConfig
from lmrun.profile.tooling.tools import ToolConfig


@dataclass(frozen=True, slots=True)
class Tooling:
    """`tool_dirs`, `mcp_dirs`: what the paths of each are relative to. `written`: as in a
    LoadedProfile; it is not compared, for it changes nothing. `root`: the profile that declares the
    MCP servers, None where there are none: what was agreed to for one says nothing of another.
    `presets`: those that take a prompt of an MCP server; others are told with their models."""

    tools: Mapping[str, ToolConfig] = field(default_factory=dict)
    mcp_servers: Mapping[str, McpServerConfig] = field(default_factory=dict)
    agents: Mapping[str, AgentConfig] = field(default_factory=dict)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    tool_dirs: Mapping[str, Path] = field(default_factory=dict)
    mcp_dirs: Mapping[str, Path] = field(default_factory=dict)
    written: Mapping[nodes.Path, str] = field(default_factory=dict, compare=False)
    root: Path | None = None
    presets: Mapping[str, Preset] = field(default_factory=dict)


def read_tooling(loaded: LoadedProfile) -> Tooling:
    """That of a profile."""
    profile, here = loaded.profile, loaded.root.parent
    return Tooling(
        profile.tools,
        profile.mcp_servers,
        profile.agents,
        profile.policy,
        {key: loaded.tool_dirs.get(key, here) for key in profile.tools},
        {name: loaded.mcp_dirs.get(name, here) for name in profile.mcp_servers},
        loaded.written,
        loaded.root if profile.mcp_servers else None,
        {name: it for name, it in profile.presets.items() if it.mcp_prompt is not None},
    )
