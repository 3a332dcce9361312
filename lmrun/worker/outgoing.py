"""Which events go out when, while a worker generates. Pure: it knows no clock and no socket."""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.chat.events import ChatEnd, WorkerEvent
from lmrun.engines.base import EngineUsage
from lmrun.worker.frames import SequenceEvents, Step, WireError

HEARTBEAT_S = 1.0
COALESCE_S = 0.04
COALESCE_STREAM_S = 0.01
LONGEST_COALESCE_S = 0.1
COALESCE_TOKENS = 64
SLOW_TOKENS_PER_S = 40


class Outgoing:
    """Events that wait for their frame.

    A slow model's frames go out after every step. Above 40 tokens a second what comes within 50 ms
    of one sequence, within 100 ms of six and more, shares a frame, which still looks steady: a
    frame and each sequence in it cost server and client the same whatever they hold, and take it
    from the cores that decode. A sequence's first text, its end and its failure never wait.
    """

    def __init__(self, now: float) -> None:
        self._events: dict[int, list[WorkerEvent]] = {}
        self._errors: dict[int, WireError] = {}
        self._tokens = 0
        self._sent_at = now
        self._usage_sent_at = now - HEARTBEAT_S
        self._is_urgent = False

    def add(self, sequence: int, events: Sequence[WorkerEvent], *, is_first: bool = False) -> None:
        """Events of a sequence, in order. `is_first`: its first text is among them."""
        if not events:
            return
        self._events.setdefault(sequence, []).extend(events)
        if is_first or isinstance(events[-1], ChatEnd):
            self._is_urgent = True

    def count_token(self) -> None:
        """A token was produced, with or without text to show for it."""
        self._tokens += 1

    def fail(self, sequence: int, error: WireError) -> None:
        """A sequence ended with `error`."""
        self._errors[sequence] = error
        self._is_urgent = True

    def drop(self, sequence: int) -> None:
        """A sequence was cancelled: nothing about it goes out, except soon that it is gone."""
        self._events.pop(sequence, None)
        self._errors.pop(sequence, None)
        self._is_urgent = True

    def hurry(self) -> None:
        """The counts have changed in a way the other side should see now."""
        self._is_urgent = True

    def is_due(self, now: float) -> bool:
        """Whether a frame should go out at `now` (seconds of a monotonic clock)."""
        elapsed = now - self._sent_at
        if self._is_urgent or elapsed >= HEARTBEAT_S:
            return True
        if not self._events:
            return False
        patience = min(COALESCE_S + COALESCE_STREAM_S * len(self._events), LONGEST_COALESCE_S)
        if elapsed >= patience or self._tokens >= COALESCE_TOKENS:
            return True
        return self._tokens <= SLOW_TOKENS_PER_S * elapsed

    def seconds_to_heartbeat(self, now: float) -> float:
        """How long the loop may sleep when there is nothing to do."""
        return max(0.0, self._sent_at + HEARTBEAT_S - now)

    def is_usage_due(self, now: float, *, is_idle: bool) -> bool:
        """Whether the next frame should say what the engine holds: once a second, and with the
        end of the last sequence, so that whoever has read the answer finds it counted."""
        return is_idle or now - self._usage_sent_at >= HEARTBEAT_S

    def take(
        self,
        now: float,
        *,
        active: int,
        waiting: int,
        usage: EngineUsage | None = None,
        patience_s: float = 0.0,
    ) -> Step:
        """The frame with everything that waits."""
        if usage is not None:
            self._usage_sent_at = now
        sequences = [
            SequenceEvents(id, tuple(self._events.get(id, ())), self._errors.get(id))
            for id in {**self._events, **self._errors}
        ]
        self._events, self._errors, self._tokens = {}, {}, 0
        self._sent_at, self._is_urgent = now, False
        return Step(tuple(sequences), active, waiting, usage, patience_s)
