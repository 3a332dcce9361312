"""Who may run which tool with what: decisions as declared. It decides nothing itself."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from lmrun.profile.tooling.naming import TOOL_PATTERN_PATTERN
from lmrun.settings.base import Settings

Decision = Literal["allow", "ask", "deny"]
"""`ask`: somebody must agree to each call; where nobody can be asked, it is denied."""

ToolPattern = Annotated[str, StringConstraints(pattern=TOOL_PATTERN_PATTERN, max_length=200)]
Patterns = Annotated[tuple[ToolPattern, ...], Field(max_length=128, strict=False)]
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=512)], ...],
    Field(max_length=128, strict=False),
]


def _check_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression of Python's: {error}") from None
    return pattern


ArgumentPattern = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_check_regex)]


class PolicyRule(Settings):
    """A decision about calls to which everything that it names applies. The first such rule
    decides; without one, what the tool itself says."""

    tools: Patterns = Field(("*",), description="Tools, like `add`, `mcp/time/*` or `*`.")
    arguments: dict[str, ArgumentPattern] = Field(
        default_factory=dict,
        description="Arguments by name (`options.path` for one inside another), each with a "
        "regular expression that matches its whole value as text.",
    )
    keys: Names = Field((), description="Names of API keys; default: any, and none.")
    models: Names = Field((), description="Models that call, by key or identifier.")
    agents: Names = Field((), description="Agents that call.")
    decision: Decision = Field(
        description="`allow`, `ask` or `deny`. Tools that write or reach the network are allowed "
        "by their whole names only; where a pattern means them, `allow` is `ask`."
    )
    reason: Annotated[str, Field(max_length=500)] | None = Field(
        None, description="Shown to whoever is asked, to the model that is denied, and logged."
    )

    @model_validator(mode="before")
    @classmethod
    def _allows_nothing_by_a_wildcard_alone(cls, value: Any) -> Any:
        # A rule that allows every tool would undo every other decision.
        if isinstance(value, dict) and value.get("decision") == "allow":
            tools = value.get("tools", ("*",))
            if isinstance(tools, (list, tuple)) and "*" in tools:
                raise ValueError("`allow` needs the tools that it allows; `*` is every one")
        return value

    @model_validator(mode="after")
    def _lists_something_where_it_lists(self) -> PolicyRule:
        # No name would be read as any name here, and as no tool there: nobody means both.
        for name in ("tools", "keys", "models", "agents"):
            if name in self.model_fields_set and not getattr(self, name):
                raise ValueError(f"`{name}` is empty: name some, or leave it out for any")
        return self


class PolicyConfig(Settings):
    """Rules beyond what each tool says of itself."""

    rules: Annotated[tuple[PolicyRule, ...], Field(max_length=256, strict=False)] = Field(
        (), description="In order; the first that applies decides."
    )
    taint: bool = Field(
        True,
        description="Once a run has read content from elsewhere, tools that write or reach the "
        "network are asked about even where they are allowed.",
    )
