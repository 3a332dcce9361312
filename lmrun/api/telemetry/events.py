"""What the log stream says, as types. The names are those of LM Studio's own log stream.

It knows nobody who logs and nobody who listens.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from lmrun.chat.events import StopReason

Source = Literal["server", "model"]
SOURCES: tuple[Source, ...] = ("server", "model")


class ServerLogged(msgspec.Struct, frozen=True, tag="server.log"):
    """A line of the server's log. `time`: ISO 8601 in UTC. `fields`: what is told apart in it."""

    time: str
    level: str
    logger: str
    message: str
    fields: dict[str, Any] = {}


class PromptLogged(msgspec.Struct, frozen=True, tag="llm.prediction.input"):
    """The exact text a model was given. `generation`: a number that its output has, too."""

    time: str
    generation: int
    model: str
    request_id: str | None
    input: str


class Stats(msgspec.Struct, frozen=True):
    """Counts in tokens, times in seconds since the generation was asked for."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    time_to_first_token_s: float | None
    total_s: float


class OutputLogged(msgspec.Struct, frozen=True, tag="llm.prediction.output"):
    """The text as the model wrote it, markup included. `stop_reason` and `stats` are None when it
    did not end by itself: by the `error`, or because its client left."""

    time: str
    generation: int
    model: str
    request_id: str | None
    output: str
    stop_reason: StopReason | None = None
    error: str | None = None
    stats: Stats | None = None


class LogLost(msgspec.Struct, frozen=True, tag="log.lost"):
    """The listener was too slow for `count` events; they are gone."""

    count: int


LogEvent = ServerLogged | PromptLogged | OutputLogged | LogLost


def show_time(seconds: float) -> str:
    """Seconds since 1970 → `2026-11-25T12:00:00.123Z`"""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
