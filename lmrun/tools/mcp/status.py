"""What can be seen of the servers: states, versions, tools and faults."""

from __future__ import annotations

from typing import Literal

import msgspec

from lmrun.tools.mcp.consent import Fault

State = Literal["stopped", "needs_approval", "starting", "ready", "failed", "backing_off"]
"""`stopped`: nobody has needed it yet; `failed`: it is tried again when somebody needs it, at
`retry_in_s` at the earliest; `backing_off`: it is started again by itself."""


class Counters(msgspec.Struct):
    """What one session has seen. `breaches`: messages that were none; `unasked`: answers to nothing
    that was asked, or that had been answered or given up; `refused`: requests beyond what is
    answered at a time."""

    messages: int = 0
    breaches: int = 0
    unasked: int = 0
    refused: int = 0
    last_breach: str | None = None


class ToolStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool as its server calls it; `name`: as models do, None where it is not offered."""

    tool: str
    name: str | None = None
    fault: Fault | None = None


class ServerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One server. `restarts`: starts after the first one; `error`: why it is not ready;
    `tokens_sampled`: what its session has used of its budget; `stderr_tail`: of a command."""

    name: str
    state: State
    protocol_version: str | None = None
    pid: int | None = None
    restarts: int = 0
    retry_in_s: float | None = None
    error: str | None = None
    tools: tuple[ToolStatus, ...] = ()
    counters: Counters = msgspec.field(default_factory=Counters)
    tokens_sampled: int = 0
    stderr_tail: str = ""
