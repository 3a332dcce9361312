"""What a route is: the typed row from which routing, OpenAPI and test matrices are made.

It knows no dialect and no path of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.types import ASGIApp

from lmrun.api.envelope import OPENAI, Envelope
from lmrun.errors import LmrunError

Method = Literal["GET", "POST", "DELETE"]
Scope = Literal["inference", "models", "tools", "admin"]
"""What a key can be good for: generating and reading about models; loading and unloading them, and
the server's state; running tools; everything, prompts of others and metrics included."""


def is_granted(scope: Scope, granted: Collection[str]) -> bool:
    """Whether a key with these scopes may use a route of that one: `admin` includes the others."""
    return scope in granted or "admin" in granted


@dataclass(frozen=True, slots=True)
class Call:
    """One request at its handler. `json`: the decoded body, None where the route takes none.

    `path`: the values of the path's `{…}` parts; `query`: only names that the route declares.
    """

    json: Any
    path: Mapping[str, str]
    query: Mapping[str, str]
    request_id: str


Handler = Callable[[Call], Awaitable[ASGIApp]]
"""Answers a call, or raises an error of the tree.

It and the answer it returns are cancelled when the client goes away: what must outlive the
client belongs into a task of its own.
"""


@dataclass(frozen=True, slots=True)
class Response:
    """A documented answer. `type`: a msgspec struct or pydantic model, None for an empty body; of
    a stream, that of its events. `last_data`: what a stream's last event says instead."""

    description: str
    type: Any = None
    media_type: str = "application/json"
    last_data: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    `path` is Starlette's (`{id:path}`), `scope` what an API key must grant (None: open to
    callers without one), `request` the body's type, `query` the parameters it understands,
    `responses` the good answers, `errors` what its handler raises beyond the common ones,
    `envelope` how errors on its path are written.
    `is_endless`: its stream ends with its client only, so no limit on time is meant for it.
    """

    method: Method
    path: str
    handler: Handler
    summary: str
    scope: Scope | None = "inference"
    request: Any = None
    query: tuple[str, ...] = ()
    responses: Mapping[int, tuple[Response, ...]] = field(default_factory=dict)
    errors: tuple[type[LmrunError], ...] = ()
    envelope: Envelope = OPENAI
    is_endless: bool = False
