"""What servers are given by lmrun, and what of a declaration a session depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.answering.questions import Elicit
from lmrun.tools.mcp.backoff import DEFAULT_BACKOFF, Backoff
from lmrun.tools.mcp.consent import Consent
from lmrun.tools.models import Models

MakeAuth = Callable[[str, McpServerConfig], httpx2.Auth | None]

_HOT = frozenset(
    {
        "tools",
        "policy",
        "untrusted",
        "resources",
        "prompts",
        "roots",
        "timeout",
        "start_timeout",
        "max_output",
    }
)
"""What may change while a session goes on."""


def no_auth(server: str, config: McpServerConfig) -> None:
    """No server is told who lmrun is."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`environment`: lmrun's own; `elicit` None: there is nobody to ask; `make_auth`: how requests
    to a remote server say who they are from; `on_change`: what can be seen of one has changed;
    `are_declared`: in the profile, which a request that brings one along cannot change."""

    environment: Mapping[str, str] = field(repr=False)
    models: Models
    consent: Consent
    elicit: Elicit | None = None
    make_auth: MakeAuth = no_auth
    backoff: Backoff = DEFAULT_BACKOFF
    on_change: Callable[[], None] = lambda: None
    are_declared: bool = True


def session_key(config: McpServerConfig, directory: Path) -> tuple[object, ...]:
    """Equal for declarations that one session can serve. Whether there are roots at all is agreed
    on at its beginning."""
    fixed = sorted(set(McpServerConfig.model_fields) - _HOT)
    return (directory, bool(config.roots), *(getattr(config, name) for name in fixed))
