"""The prompt log: what a model was given and what it wrote, while somebody wants to know.

It knows no HTTP; what it says goes to a feed, and into the server's log where the profile says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from lmrun.api.telemetry.events import OutputLogged, PromptLogged, Stats, show_time
from lmrun.api.telemetry.feed import Feed
from lmrun.chat.events import ChatEnd, MessageDelta, PromptText, WorkerEvent

PROMPT_LOGGER = "lmrun.prompts"
log = logging.getLogger(PROMPT_LOGGER)


class PromptLog:
    """`is_kept`: whether prompts go into the server's log, too."""

    def __init__(self, feed: Feed, is_kept: Callable[[], bool]) -> None:
        self._feed = feed
        self._is_kept = is_kept

    @property
    def is_wanted(self) -> bool:
        return self._is_kept() or self._feed.has_listener("model")

    def publish(self, event: PromptLogged | OutputLogged) -> None:
        text = event.input if isinstance(event, PromptLogged) else event.output
        self._feed.publish("model", event, len(text))
        if self._is_kept():
            fields = {name: it for name, it in msgspec.to_builtins(event).items() if it is not None}
            kind = "prompt" if isinstance(event, PromptLogged) else "output"
            del fields["time"], fields["type"]
            log.info("%s of %s", kind, event.model, extra={"fields": fields})


class Transcript:
    """One generation on its way into the prompt log."""

    def __init__(self, log: PromptLog, number: int, model: str, request_id: str | None) -> None:
        self._log = log
        self._number = number
        self._model = model
        self._request_id = request_id
        self._pieces: list[str] = []

    def note(self, event: WorkerEvent) -> None:
        """The next event; of the prompt's text only a whole one counts."""
        if isinstance(event, MessageDelta):
            self._pieces.append(event.text)
        elif isinstance(event, PromptText) and event.is_whole:
            now = show_time(time.time())
            prompt = PromptLogged(now, self._number, self._model, self._request_id, event.text)
            self._log.publish(prompt)

    def end(
        self, chat_end: ChatEnd | None, error: str | None, first_s: float | None, total_s: float
    ) -> None:
        """`first_s`: until the first text; `total_s`: until now."""
        self._log.publish(
            OutputLogged(
                show_time(time.time()),
                self._number,
                self._model,
                self._request_id,
                "".join(self._pieces),
                chat_end.stop_reason if chat_end else None,
                error,
                _make_stats(chat_end, first_s, total_s) if chat_end else None,
            )
        )


def _make_stats(end: ChatEnd, first_s: float | None, total_s: float) -> Stats:
    usage = end.usage
    return Stats(
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        usage.drafted_tokens,
        usage.accepted_tokens,
        first_s,
        total_s,
    )
