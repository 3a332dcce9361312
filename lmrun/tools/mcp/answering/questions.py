"""Questions of MCP servers to a person, and what somebody says to them. It knows no session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec


class Elicitation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the server called `server` asks somebody. `schema`: of the answer, as `forms` reads it;
    None where they are to open `url` instead, which nobody opens for them. `runs`: those with a
    call under way at the server; it does not say on whose behalf it asks."""

    server: str
    message: str
    schema: dict[str, Any] | None = None
    url: str | None = None
    runs: frozenset[str] = frozenset()


class Elicited(msgspec.Struct, frozen=True, omit_defaults=True):
    """`content`: the answer, of `accept` to a schema."""

    action: Literal["accept", "decline", "cancel"]
    content: Mapping[str, Any] | None = None


Elicit = Callable[[Elicitation], Awaitable[Elicited]]
