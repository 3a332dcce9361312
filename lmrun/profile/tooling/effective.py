"""What a profile says of single tools, its defaults filled in. It knows no rule and no call."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.profile.tooling.policy import Decision
from lmrun.profile.tooling.tools import Effect, ToolConfig

RESOURCE_TOOL = "read_resource"
"""What lmrun calls the tool with which a server's resources are read."""
PROMPT_TOOL = "get_prompt"
"""What rules call asking for one of a server's prompts; no model can."""

_WHAT_A_CALL_DOES = ("python", "command", "http", "parameters", "optional", "env", "cwd")
_ANYTHING: frozenset[Effect] = frozenset({"write", "network"})


def effects_of(tool: ToolConfig) -> frozenset[Effect]:
    """What a call of a declared tool may do."""
    if tool.effects is not None:
        return frozenset(tool.effects)
    is_get = tool.http is not None and tool.http.method == "GET"
    return frozenset({"network"}) if is_get else _ANYTHING


def is_untrusted(tool: ToolConfig) -> bool:
    """Whether its results are content from elsewhere."""
    return tool.http is not None if tool.untrusted is None else tool.untrusted


def does_the_same(one: ToolConfig, other: ToolConfig) -> bool:
    """Whether a call does the same, whoever may make it and however long it may take."""
    return all(getattr(one, name) == getattr(other, name) for name in _WHAT_A_CALL_DOES)


def is_offered(server: McpServerConfig, tool: str) -> bool:
    """Whether the profile lets an MCP server's tool be used at all."""
    if tool == RESOURCE_TOOL and server.resources:
        return True
    return is_allowed(server, tool)


def is_allowed(server: McpServerConfig, tool: str) -> bool:
    """Whether the profile offers a tool that the server itself has."""
    return is_named(server.tools.allow, tool) and not is_named(server.tools.deny, tool)


def is_named(patterns: Iterable[str], tool: str) -> bool:
    """Whether one of a server's `patterns`, names in which `*` is any text, means its `tool`."""
    return any(_to_regex(pattern).fullmatch(tool) for pattern in patterns)


def mcp_policy_of(server: McpServerConfig, tool: str) -> Decision:
    """Who decides about calls of an MCP server's tool. What writes or reaches the network is never
    allowed by a pattern: a server may add tools as it likes."""
    own = server.tools.policy.get(tool)
    if own is not None:
        return own
    is_by_name = tool in server.tools.allow or tool == RESOURCE_TOOL
    if server.policy == "allow" and not is_by_name and mcp_effects_of(server, tool):
        return "ask"
    return server.policy


def prompt_policy_of(server: McpServerConfig) -> Decision:
    """Who decides whether a prompt is asked for: `prompts: true` is an agreement."""
    return "deny" if server.policy == "deny" else "allow"


def mcp_effects_of(server: McpServerConfig, tool: str) -> frozenset[Effect]:
    """What a call of it may do, whatever the server says of itself."""
    effects = server.tools.effects.get(tool)
    return _ANYTHING if effects is None else frozenset(effects)


@lru_cache(maxsize=4096)
def _to_regex(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
