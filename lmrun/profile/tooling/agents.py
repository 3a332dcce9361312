"""Agents that a profile declares: a model with a preset and tools, addressed like a model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lmrun.profile.tooling.policy import Patterns
from lmrun.profile.tooling.references import McpResources, PresetChoice
from lmrun.profile.tooling.tools import Positive
from lmrun.settings.base import Settings
from lmrun.settings.bounds import ModelName


class Budgets(Settings):
    """When a run ends though it is not done. RELIABILITY D5 gives the defaults."""

    calls: Annotated[int, Field(ge=0, le=10_000)] = Field(50, description="Tool calls.")
    tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Tokens that the model writes, of all rounds together."
    )
    time: Positive = Field(
        600.0, description="From its start to its end.", json_schema_extra={"default": "10m"}
    )
    identical_calls: Annotated[int, Field(ge=1, le=100)] = Field(
        3, description="Calls of one tool with the same arguments."
    )
    invalid_calls: Annotated[int, Field(ge=0, le=100)] = Field(
        3, description="Calls in a row that no tool can take; the model reads what was wrong."
    )


class AgentConfig(Settings):
    """What clients ask for as a model; the server runs its tools."""

    model: ModelName = Field(description="A declared model, by key or identifier.")
    preset: PresetChoice | None = Field(
        None,
        description="A preset of this profile, over the model's own; or a prompt of an MCP server "
        "that has no blanks, `mcp/<server>/<prompt>`.",
    )
    tools: Patterns = Field((), description="Tools like `add`, `mcp/time/*`.")
    context: McpResources = Field(
        (),
        description="Resources of MCP servers, `mcp/<server>/<uri>`, read when a run begins and "
        "put before its task.",
    )
    max_rounds: Annotated[int, Field(ge=1, le=1000)] = Field(
        25, description="Answers of the model; the last one is offered no tools."
    )
    parallel_calls: Annotated[int, Field(ge=1, le=64)] = Field(
        4, description="Calls of one round that run at a time."
    )
    budgets: Budgets = Field(Budgets(), description="When a run ends though it is not done.")
    description: Annotated[str, Field(max_length=2000)] | None = Field(
        None, description="For people who choose among agents."
    )
