"""What is known of one request when it has ended: for the log and the counters.

Whoever learns something notes it; it knows neither of the two, and no content.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from lmrun.chat.events import Usage

CLIENT_GONE = 499
"""nginx's number for a client that left before an answer began; it goes into logs only."""

MAX_PATH = 200


@dataclass(slots=True)
class Record:
    """One request. `path`: as it came, percent-encoded, without its query. `route`: the path of
    the table, None where nothing is. `key`: the API key's name. `model`: the instance that was
    used. `is_whole`: the answer was sent to its end. `ignored`: parameters nobody knows.
    """

    method: str
    path: str
    peer: str
    request_id: str = ""
    route: str | None = None
    status: int = CLIENT_GONE
    seconds: float = 0.0
    is_whole: bool = False
    key: str | None = None
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ignored: list[str] = field(default_factory=list)

    def add_usage(self, usage: Usage) -> None:
        """Count a generation, or what was embedded; choices of one prompt count it once each."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens


_current: ContextVar[Record | None] = ContextVar("lmrun_request", default=None)


def current_record() -> Record | None:
    """That of the request this task, or the one that started it, works for; None outside."""
    return _current.get()


def set_current(record: Record) -> None:
    _current.set(record)
