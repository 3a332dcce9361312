"""When a crashed worker is started again."""

from __future__ import annotations

from lmrun.runtime.crashes import CrashHistory
from lmrun.runtime.timings import Timings

TIMINGS = Timings()


def after(*times: float, healthy_s: float = 0.0) -> CrashHistory:
    history = CrashHistory()
    for time in times:
        history = history.add(time, healthy_s=healthy_s, timings=TIMINGS)
    return history


def test_the_back_off_doubles_up_to_a_minute() -> None:
    delays = [after(*range(0, 1000 * count, 1000)).delay_s(TIMINGS) for count in range(1, 11)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_long_streak_does_not_overflow() -> None:
    assert CrashHistory(streak=100_000).delay_s(TIMINGS) == 60


def test_five_healthy_minutes_reset_the_back_off() -> None:
    history = after(0, 1, 2, 3)
    assert history.add(303, healthy_s=300, timings=TIMINGS).delay_s(TIMINGS) == 0.5
    assert history.add(303, healthy_s=299, timings=TIMINGS).delay_s(TIMINGS) == 8


def test_more_than_five_crashes_in_a_minute_are_a_loop() -> None:
    assert not after(0, 1, 2, 3, 4).is_loop(TIMINGS)
    assert after(0, 1, 2, 3, 4, 5).is_loop(TIMINGS)
    assert not after(0, 1, 2, 3, 4, 60).is_loop(TIMINGS)
