"""What agents need of the tools room. It knows no model and no request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lmrun.profile.schema import Profile
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.tools.act.opening import Opening
from lmrun.tools.act.sources import Source
from lmrun.tools.policy.gate import Gate
from lmrun.tools.tool import Toolset


class Workshop(Protocol):
    """Tools, agents and the policy of the profile that is applied now."""

    @property
    def profile(self) -> Profile | None: ...

    @property
    def agents(self) -> Mapping[str, AgentConfig]:
        """By the name that requests give as their model."""

    @property
    def gate(self) -> Gate: ...

    def toolset(self, patterns: Sequence[str]) -> Toolset:
        """The tools whose path in the profile fits one of `patterns`."""

    def sources(self, opening: Opening) -> Sequence[Source]:
        """What a run begins with. Raises McpNotFound for a server that is not declared by now."""
