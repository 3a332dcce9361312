"""What the applied profile says of a tool now, whatever it said when the model was told of it.

Pure; it knows no rule.
"""

from __future__ import annotations

from dataclasses import replace

from lmrun.profile.schema import Profile
from lmrun.profile.tooling.effective import (
    does_the_same,
    effects_of,
    is_offered,
    mcp_effects_of,
    mcp_policy_of,
)
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.tool import ToolSpec


class NotTheSame(Exception):
    """The profile has no such tool any more. The message says why, for the model and the log."""


def bring_up_to_date(tool: ToolSpec, profile: Profile | None) -> ToolSpec:
    """The tool with the policy and the effects that `profile` gives it. Raises NotTheSame. One that
    no profile has declared is as it is, and so is every tool where none is applied."""
    if profile is None or tool.declared is None:
        return tool
    if isinstance(tool.declared, ToolConfig):
        return _find_declared(tool, tool.declared, profile)
    return _find_offered(tool, tool.declared, profile)


def _find_declared(tool: ToolSpec, then: ToolConfig, profile: Profile) -> ToolSpec:
    now = profile.tools.get(tool.path)
    if now is then:
        return tool
    if now is None:
        raise NotTheSame("the profile does not declare this tool any more")
    if not does_the_same(then, now):
        raise NotTheSame("the tool does something else since the model was told of it")
    return replace(tool, policy=now.policy, effects=effects_of(now), declared=now)


def _find_offered(tool: ToolSpec, then: McpServerConfig, profile: Profile) -> ToolSpec:
    """Whether the server still means it the same is asked when the call is made."""
    _, server, name = tool.path.split("/", 2)
    now = profile.mcp_servers.get(server)
    if now is then:
        return tool
    if now is None or not is_offered(now, name):
        raise NotTheSame("the profile does not offer this tool any more")
    policy, effects = mcp_policy_of(now, name), mcp_effects_of(now, name)
    return replace(tool, policy=policy, effects=effects, declared=now)
