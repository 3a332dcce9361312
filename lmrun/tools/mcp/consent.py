"""What somebody must have agreed to before a server is started and a tool of it is offered.

It says only what is asked; who answers keeps approvals elsewhere and is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lmrun.profile.tooling.mcp import McpServerConfig

FaultKind = Literal[
    "needs_approval",
    "drift",
    "name",
    "too_large",
    "schema",
    "missing",
    "unsupported",
]
"""`needs_approval`: nobody has agreed to it as it is now; `drift`: it has changed since; `name`: it
cannot be called what it is called, or another one is; `too_large`: beyond a bound; `schema`: its
arguments are not described as they must be; `missing`: the profile names a tool that the server
has not; `unsupported`: it can only be called in a way that its server does not offer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a server is not started, or a tool not offered. `diff`: what has changed, line by line,
    where that is known."""

    kind: FaultKind
    message: str
    hint: str | None = None
    diff: str | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as its server describes it, nothing stripped: what is pinned. `annotations`: hints of
    the server about itself, which are not believed."""

    name: str
    description: str | None
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None = None
    annotations: Mapping[str, Any] | None = None
    needs_task: bool = False
    """It is only done as a task that is asked after later; no part of what is pinned."""

    def to_json(self) -> dict[str, Any]:
        """Its fields by the protocol's names; absent ones are left out."""
        fields = {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "outputSchema": self.output_schema,
            "annotations": self.annotations,
        }
        return {name: value for name, value in fields.items() if value is not None}


class Consent(Protocol):
    """Whoever knows what was agreed to. Both are asked often, and must answer at once."""

    def may_start(self, server: str, config: McpServerConfig, directory: Path) -> Fault | None:
        """Whether the server may be started, or connected to, as it is declared now. `directory`:
        the profile's, from which relative paths count. None: it may."""
        ...

    def may_use(self, server: str, definition: ToolDefinition) -> Fault | None:
        """Whether the tool may be offered as its server describes it now. None: it may."""
        ...
