"""What happens in the server, on its way to whoever wants to know: counters, prompt log, log.

One observer for all of it, so that each event costs one look at the clock.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping

from lmrun.api.http.record import Record, current_record
from lmrun.api.telemetry.feed import Feed
from lmrun.api.telemetry.metrics import Metrics, Outcome
from lmrun.api.telemetry.prompts import PromptLog, Transcript
from lmrun.chat.events import ChatEnd, MessageDelta, Usage, WorkerEvent
from lmrun.profile.schema import LogConfig
from lmrun.runtime.instance import Instance
from lmrun.runtime.spec import InstanceSpec

ACCESS_LOGGER = "lmrun.access"
QUIET_ROUTES = frozenset({"/health"})
"""Probes ask every few seconds; only a failure is worth a line."""

log = logging.getLogger(ACCESS_LOGGER)


class Telemetry:
    """The observer of the pool, and who is told of each request's end."""

    def __init__(
        self,
        instances: Callable[[], Mapping[str, Instance]],
        log_config: Callable[[], LogConfig],
    ) -> None:
        self.feed = Feed()
        self.metrics = Metrics(instances)
        self._prompts = PromptLog(self.feed, lambda: log_config().prompts)
        self._numbers = itertools.count(1)

    @property
    def wants_prompts(self) -> bool:
        return self._prompts.is_wanted

    def begin(self, spec: InstanceSpec, *, with_prompt: bool) -> Generation:
        model, record = spec.identifier, current_record()
        transcript = None
        if with_prompt:
            request_id = record.request_id if record else None
            transcript = Transcript(self._prompts, next(self._numbers), model, request_id)
        return Generation(self.metrics, model, record, transcript)

    def count_input(self, spec: InstanceSpec, prompt_tokens: int) -> None:
        self.metrics.count_input(spec.identifier, prompt_tokens)
        record = current_record()
        if record is not None:
            record.model = spec.identifier
            record.add_usage(Usage(prompt_tokens, 0))

    def note_request(self, record: Record) -> None:
        """A request has ended."""
        self.metrics.count_request(record)
        if record.route in QUIET_ROUTES and record.status == 200:
            return
        text = f"{record.method} {record.path} {record.status}"
        log.info("%s", text, extra={"fields": _show(record)})


class Generation:
    """One generation. `record`: of the request it belongs to, if any."""

    def __init__(
        self,
        metrics: Metrics,
        model: str,
        record: Record | None,
        transcript: Transcript | None,
    ) -> None:
        self._metrics = metrics
        self._model = model
        self._record = record
        self._transcript = transcript
        self._gap_s = metrics.gap_s.labels(model)
        self._began_at = time.monotonic()
        self._first_at: float | None = None
        self._last_at = 0.0
        self._end: ChatEnd | None = None
        if record is not None:
            record.model = model

    def note(self, event: WorkerEvent) -> None:
        if isinstance(event, MessageDelta):
            now = time.monotonic()
            if self._first_at is None:
                self._first_at = now
                self._metrics.first_s.labels(self._model).observe(now - self._began_at)
            else:
                self._gap_s.observe(now - self._last_at)
            self._last_at = now
        elif isinstance(event, ChatEnd):
            self._end = event
        if self._transcript is not None:
            self._transcript.note(event)

    def end(self, error: BaseException | None) -> None:
        now = time.monotonic()
        first_at = now if self._first_at is None else self._first_at
        self._metrics.count_generation(self._model, self._outcome(error))
        if self._end is not None:
            self._metrics.count_usage(self._model, self._end.usage, now - first_at)
            if self._record is not None:
                self._record.add_usage(self._end.usage)
        if self._transcript is not None:
            first_s = None if self._first_at is None else first_at - self._began_at
            reason = None if error is None else str(error)
            self._transcript.end(self._end, reason, first_s, now - self._began_at)

    def _outcome(self, error: BaseException | None) -> Outcome:
        if self._end is not None:
            return "finished"
        return "cancelled" if error is None else "failed"


def _show(record: Record) -> dict[str, object]:
    """What the log says of a request beside its first words."""
    # Tokens are known once a generation has ended by itself, and no prompt has none.
    is_counted = record.prompt_tokens > 0
    fields: dict[str, object] = {
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "ms": round(record.seconds * 1000, 1),
        "key": record.key,
        "model": record.model,
        "prompt_tokens": record.prompt_tokens if is_counted else None,
        "completion_tokens": record.completion_tokens if is_counted else None,
        "peer": record.peer or None,
        "ignored": ", ".join(record.ignored) or None,
        "request_id": record.request_id,
        # Its client left before the end.
        "is_cut_off": None if record.is_whole else True,
    }
    return {name: value for name, value in fields.items() if value is not None}
