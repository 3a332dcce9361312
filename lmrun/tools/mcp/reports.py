"""What is said of MCP servers over the control socket. Values only: the command line reads them,
too, and waits for no protocol's library.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Standing = Literal["approved", "new", "changed"]
"""`new`: nobody has agreed to it yet; `changed`: what somebody agreed to was something else."""

OWN_PATH = "/mcp"
"""Where lmrun's own MCP server answers."""


class McpToolReport(msgspec.Struct, frozen=True):
    """A tool that the profile offers. `fault`: why models do not get it after all, `kind` in one
    word: `drift`, it has changed since it was approved, with `diff` line by line;
    `needs_approval`; and others."""

    name: str
    kind: str | None = None
    fault: str | None = None
    diff: str | None = None


class McpServerReport(msgspec.Struct, frozen=True):
    """`transport`: `stdio`, `streamable_http` or `sse`. `protocol`: the version that was agreed on,
    None while there is no session. `fault`: why there is none."""

    name: str
    transport: str
    state: str
    protocol: str | None
    tools: tuple[McpToolReport, ...]
    fault: str | None = None
    restarts: int = 0
    is_logged_in: bool | None = None
    """Whether there is a credential; None where the profile asks for none."""


class McpServers(msgspec.Struct, frozen=True):
    """Every server that the applied profile declares."""

    servers: tuple[McpServerReport, ...]


class IdentityReview(msgspec.Struct, frozen=True):
    """What is started, or called: `lines` show it in full, `digest` names it. `changes`: what is
    different from what was approved. `is_locked`: whether the lock file beside the profile pins
    just this; None where there is none."""

    digest: str
    standing: Standing
    lines: tuple[str, ...]
    changes: tuple[str, ...] = ()
    is_locked: bool | None = None


class ToolReview(msgspec.Struct, frozen=True):
    """What a tool says of itself: `text` in full, `hidden` characters named, `diff` against what
    was approved. `is_locked` as of an identity."""

    name: str
    digest: str
    standing: Standing
    text: str
    hidden: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()
    is_locked: bool | None = None


class McpReview(msgspec.Struct, frozen=True):
    """What there is to agree to. `tools`: those that the profile offers, as far as the server has
    told; `problem`: why it has not."""

    server: str
    identity: IdentityReview
    tools: tuple[ToolReview, ...] = ()
    problem: str | None = None


class LoginAsked(msgspec.Struct, frozen=True, tag="login.asked"):
    """Somebody has to open `url` in a browser, which lies at `host`."""

    url: str
    host: str


class LoginDone(msgspec.Struct, frozen=True, tag="login.done"):
    """There is a credential. `scope`: what it is good for, as far as the server says; `expires_s`:
    seconds until it has to be renewed, which happens by itself where `is_renewable`."""

    scope: str | None
    expires_s: int | None
    is_renewable: bool


LoginEvent = LoginAsked | LoginDone


class LoggedOut(msgspec.Struct, frozen=True):
    """`was_logged_in`: whether there was anything to forget."""

    server: str
    was_logged_in: bool


class ElicitationAsked(msgspec.Struct, frozen=True, omit_defaults=True, tag="elicitation.asked"):
    """The MCP server called `server` asks something. `schema`: of the answer, a flat object; None
    where somebody is to open `url` instead."""

    id: str
    server: str
    message: str
    schema: dict[str, Any] | None = None
    url: str | None = None


class ElicitationClosed(msgspec.Struct, frozen=True, tag="elicitation.closed"):
    """It was answered, or nobody needs the answer any more."""

    id: str


ElicitationEvent = ElicitationAsked | ElicitationClosed
