"""When a frame goes out: at once where a user would notice, together where it is cheaper."""

from __future__ import annotations

from lmrun.chat.events import ChatEnd, MessageDelta, PromptProgress, Usage, WorkerEvent
from lmrun.engines.base import EngineUsage
from lmrun.worker.frames import SequenceEvents, WireError
from lmrun.worker.outgoing import Outgoing

DELTA: list[WorkerEvent] = [MessageDelta("x")]
END: list[WorkerEvent] = [ChatEnd("eosFound", Usage(1, 1))]


def with_tokens(count: int) -> Outgoing:
    outgoing = Outgoing(0.0)
    for _ in range(count):
        outgoing.count_token()
        outgoing.add(1, DELTA)
    return outgoing


def test_a_slow_model_sends_every_step() -> None:
    assert with_tokens(1).is_due(0.025)


def test_a_fast_model_sends_twenty_frames_a_second() -> None:
    assert not with_tokens(1).is_due(0.006)
    assert not with_tokens(3).is_due(0.049)
    assert with_tokens(3).is_due(0.051)


def test_frames_of_many_sequences_go_out_ten_times_a_second() -> None:
    outgoing = with_tokens(8)
    for sequence in range(2, 9):
        outgoing.add(sequence, DELTA)
    assert not outgoing.is_due(0.099)
    assert outgoing.is_due(0.101)


def test_a_fast_model_waits_for_sixty_four_tokens() -> None:
    assert not with_tokens(63).is_due(0.009)
    assert with_tokens(64).is_due(0.001)


def test_the_first_text_of_a_sequence_never_waits() -> None:
    outgoing = with_tokens(2)
    outgoing.count_token()
    outgoing.add(2, DELTA, is_first=True)
    assert outgoing.is_due(0.001)


def test_ends_failures_and_cancels_never_wait() -> None:
    ended, failed, cancelled, hurried = (with_tokens(2) for _ in range(4))
    ended.add(1, END)
    failed.fail(1, WireError("engine_error", "no"))
    cancelled.drop(1)
    hurried.hurry()
    assert all(outgoing.is_due(0.001) for outgoing in (ended, failed, cancelled, hurried))


def test_an_idle_worker_sends_a_heartbeat_each_second() -> None:
    outgoing = Outgoing(0.0)
    assert not outgoing.is_due(0.99)
    assert outgoing.seconds_to_heartbeat(0.25) == 0.75
    assert outgoing.is_due(1.0)
    assert outgoing.take(1.0, active=0, waiting=0).sequences == ()
    assert not outgoing.is_due(1.5)


def test_a_frame_holds_the_events_of_all_sequences_in_order() -> None:
    outgoing = Outgoing(0.0)
    outgoing.add(1, [PromptProgress(1, 1)])
    outgoing.add(2, DELTA)
    outgoing.add(1, DELTA)
    outgoing.fail(3, WireError("engine_error", "no"))
    step = outgoing.take(0.0, active=2, waiting=1)
    assert step.sequences == (
        SequenceEvents(1, (PromptProgress(1, 1), MessageDelta("x"))),
        SequenceEvents(2, (MessageDelta("x"),)),
        SequenceEvents(3, (), WireError("engine_error", "no")),
    )
    assert (step.active, step.waiting) == (2, 1)
    assert outgoing.take(0.0, active=2, waiting=1).sequences == ()


def test_nothing_of_a_cancelled_sequence_goes_out() -> None:
    outgoing = with_tokens(2)
    outgoing.drop(1)
    assert outgoing.take(0.0, active=0, waiting=0).sequences == ()


def test_usage_goes_out_once_a_second_and_when_nothing_is_left_to_do() -> None:
    outgoing, usage = Outgoing(0.0), EngineUsage(kv_tokens=8)
    assert outgoing.is_usage_due(0.0, is_idle=False)
    assert outgoing.take(0.0, active=1, waiting=0, usage=usage).usage == usage
    assert not outgoing.is_usage_due(0.9, is_idle=False)
    assert outgoing.is_usage_due(0.9, is_idle=True)
    assert outgoing.take(0.9, active=1, waiting=0).usage is None
    assert outgoing.is_usage_due(1.0, is_idle=False)
