"""What a tool is, whoever runs it; and what comes of a call. It knows no kind of tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.profile.tooling.policy import Decision
from lmrun.profile.tooling.tools import Effect, ToolConfig

ErrorKind = Literal[
    "not_a_call",
    "unknown_tool",
    "invalid_arguments",
    "denied",
    "disabled",
    "timeout",
    "crashed",
    "failed",
    "too_large",
    "unreachable",
    "protocol",
    "unknown_outcome",
]
"""Why a call has no good result. `not_a_call`: what the model wrote is no call after all;
`disabled`: the tool has changed since it was approved; `failed`: the tool itself says so;
`unreachable`: its server is gone, or may not be reached; `protocol`: its server broke its
protocol; `unknown_outcome`: it had begun when lmrun was ended, and may have been done."""


class ToolResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model reads of a call: `text`, already shortened and cleaned. `error`: why it is no
    good result. `is_untrusted`: content from elsewhere, which may hold instructions. `size`: bytes
    before it was shortened."""

    text: str
    error: ErrorKind | None = None
    is_untrusted: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """`path`: what the profile calls it, `mcp/time/get_current_time`; `name`: what models and
    clients do. `parameters`: the JSON schema of its arguments, an object's. `policy`: who decides,
    where no rule does. `is_exported`: offered by lmrun's own MCP server. `timeout_s`: of a call,
    which whoever runs the tool sees to. `declared`: what the profile said of it, or of its server,
    when it was made; None: no profile declares it."""

    path: str
    name: str
    description: str | None
    parameters: Mapping[str, Any]
    policy: Decision = "ask"
    effects: frozenset[Effect] = frozenset({"write", "network"})
    is_untrusted: bool = False
    is_idempotent: bool = False
    is_exported: bool = False
    timeout_s: float = 30.0
    declared: ToolConfig | McpServerConfig | None = field(default=None, compare=False, repr=False)


class ToolProgress(msgspec.Struct, frozen=True, omit_defaults=True, tag="tool_call.progress"):
    """How far a call is, as its tool tells; `total` None: unknown."""

    progress: float
    total: float | None = None
    message: str | None = None


OnProgress = Callable[[ToolProgress], None]


class Tool(Protocol):
    """Something that a model can have done."""

    @property
    def spec(self) -> ToolSpec: ...

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        """Do it. `arguments` satisfy `spec.parameters`. Whatever goes wrong is a result; the only
        exception is CancelledError, after which nothing of the call goes on."""
        ...


class Toolset(Protocol):
    """The tools that one run may use, as they are now: MCP servers come, go and change."""

    async def tools(self) -> Sequence[Tool]:
        """Every one, no name twice. Starts what it must to know them; a server that cannot be
        started offers none."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has a tool called. `door`: by which way, for the log: `chat`, `responses`, `messages`,
    `act`, `mcp`, `cli`. `key`: the name of the API key, None without one."""

    door: str
    key: str | None = None
    model: str | None = None
    agent: str | None = None
    run: str | None = None
