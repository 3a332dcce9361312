"""How long the runtime waits for what. A value, so that tests can be quick about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, except where a name says otherwise.

    A worker is hung when no frame came for the larger of `heartbeat_timeout_s` and
    `heartbeat_steps` times its longest step; an idle worker sends one each second. More than
    `crash_limit` crashes within `crash_window_s` are a crash loop; the back-off starts afresh
    after `healthy_after_s` without one.
    """

    heartbeat_timeout_s: float = 10.0
    heartbeat_steps: float = 5.0
    backoff_first_s: float = 0.5
    backoff_factor: float = 2.0
    backoff_most_s: float = 60.0
    healthy_after_s: float = 300.0
    crash_limit: int = 5
    crash_window_s: float = 60.0
    close_timeout_s: float = 5.0
    term_timeout_s: float = 2.0
