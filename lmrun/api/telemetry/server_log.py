"""The server's log: lines for people or for machines on standard error, and for who listens.

It knows no event by name: what a record has in `fields` is told apart from its words.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lmrun.api.telemetry.events import ServerLogged, show_time
from lmrun.api.telemetry.feed import Feed
from lmrun.api.telemetry.prompts import PROMPT_LOGGER
from lmrun.profile.schema import LogConfig

LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}

_NOISY = ("watchfiles", "asyncio", "uvicorn", "httpx2")
_IN_WORDS = frozenset({"method", "path", "status"})
"""Fields that the words of a line say already."""


class LogOutput(logging.StreamHandler[Any]):
    """Standard error, in the form and down to the level of `config`, which is asked every time."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.config: Callable[[], LogConfig] = LogConfig

    def filter(self, record: logging.LogRecord) -> bool:
        return is_wanted(record, self.config()) and bool(super().filter(record))

    def format(self, record: logging.LogRecord) -> str:
        return (to_json if self.config().format == "json" else to_line)(record)


def install_output() -> LogOutput:
    """Send every log of this process to standard error."""
    output = LogOutput()
    logging.basicConfig(level=logging.INFO, handlers=[output])
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return output


def is_output(file: Path) -> bool:
    """Whether standard error is this very file."""
    try:
        return os.path.samestat(os.fstat(2), file.stat())
    except OSError:
        return False


@contextmanager
def feeding(feed: Feed, config: Callable[[], LogConfig]) -> Iterator[None]:
    """Hand what is logged during the block to `feed`, too, down to the same level."""
    handler = _FeedHandler(feed, config, asyncio.get_running_loop())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def is_wanted(record: logging.LogRecord, config: LogConfig) -> bool:
    return record.levelno >= LEVELS[config.level]


def to_line(record: logging.LogRecord) -> str:
    """`2026-11-25T12:00:00.123Z info    lmrun.access: GET / 404 ms=0.3 request_id=req_1`"""
    level = record.levelname.lower()
    words = f"{show_time(record.created)} {level:7} {record.name}: {record.getMessage()}"
    pairs = [
        f"{name}={_to_value(value)}"
        for name, value in fields_of(record).items()
        if name not in _IN_WORDS
    ]
    line = " ".join([words, *pairs])
    trace = _show_exception(record)
    return f"{line}\n{trace}" if trace else line


def to_json(record: logging.LogRecord) -> str:
    """The same as one line of JSON, in ASCII."""
    content: dict[str, Any] = {
        "time": show_time(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
        **fields_of(record),
    }
    trace = _show_exception(record)
    return json.dumps({**content, "exception": trace} if trace else content, default=str)


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    return getattr(record, "fields", {})


def _to_value(value: Any) -> str:
    """Plain words as they are, anything else as JSON: a value never ends a line."""
    is_plain = isinstance(value, str) and value.isascii() and value.isprintable()
    if is_plain and not {" ", '"', "="} & set(value) and value:
        return str(value)
    return json.dumps(value, default=str)


def _show_exception(record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return logging.Formatter().formatException(record.exc_info)


class _FeedHandler(logging.Handler):
    """From any thread. What the prompt log says goes to the feed on a way of its own."""

    def __init__(
        self, feed: Feed, config: Callable[[], LogConfig], loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__()
        self._feed = feed
        self._config = config
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == PROMPT_LOGGER or not is_wanted(record, self._config()):
            return
        event = _to_event(record)
        # At the very end there may be no loop, and nobody listens.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._feed.publish, "server", event, _weigh(event))


def _to_event(record: logging.LogRecord) -> ServerLogged:
    trace = _show_exception(record)
    message = f"{record.getMessage()}\n{trace}" if trace else record.getMessage()
    return ServerLogged(
        show_time(record.created),
        record.levelname.lower(),
        record.name,
        # A client's half surrogate pair cannot be sent.
        message.encode("utf-8", "backslashreplace").decode(),
        dict(fields_of(record)),
    )


def _weigh(event: ServerLogged) -> int:
    return len(event.message) + 200
