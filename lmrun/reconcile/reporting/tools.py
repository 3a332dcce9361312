"""What `status` says of tools. It knows what the profile declares, and is told what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.profile.tooling.section import Tooling
from lmrun.reconcile.reporting.conditions import ConditionBook
from lmrun.reconcile.status import AgentStatus, Condition, ToolsStatus, ToolTrouble

_OWN = "tools."


def tools_status(tooling: Tooling, troubles: Sequence[ToolTrouble]) -> ToolsStatus | None:
    """None where the profile declares no tools, MCP servers and agents."""
    if not (tooling.tools or tooling.mcp_servers or tooling.agents):
        return None
    agents = tuple(
        AgentStatus(name, agent.model, tuple(agent.tools), agent.description)
        for name, agent in tooling.agents.items()
    )
    missing = sum(it.subject.startswith(_OWN) for it in troubles)
    declared, servers = len(tooling.tools), len(tooling.mcp_servers)
    return ToolsStatus(agents, declared, missing, servers, tuple(troubles))


def tools_condition(book: ConditionBook, found: ToolsStatus, *, is_changing: bool) -> Condition:
    """`Tools`: all that the profile declares can be used, as far as anybody has tried. The message
    has a line for each that cannot."""
    if is_changing:
        return book.note("", "Tools", "Unknown", "Progressing")
    if not found.troubles:
        return book.note("", "Tools", "True", "Ready")
    lines = [f"{it.subject}: {it.message}" for it in found.troubles]
    return book.note("", "Tools", "False", found.troubles[0].reason, "\n".join(lines))
