"""From frames to iterators of events, without a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from lmrun.chat.events import ChatEnd, MessageDelta, PromptProgress, Usage, WorkerEvent
from lmrun.chat.messages import RawPrompt
from lmrun.errors import BodyTooLarge, EngineCrashed, InvalidParameter, TemplateFailed
from lmrun.runtime.answers.events import MAX_BACKLOG, compact
from lmrun.runtime.streams import Streams
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import (
    MAX_BYTES_TO_WORKER,
    Cancel,
    Generate,
    SequenceEvents,
    Step,
    ToWorker,
    WireError,
    encode,
)

END = ChatEnd("eosFound", Usage(1, 1))


class Sent:
    """What goes out, and how often the activity changed."""

    def __init__(self) -> None:
        self.frames: list[ToWorker] = []
        self.activity: list[int] = []
        self.streams = Streams(self.send, self.note)

    def send(self, frame: ToWorker) -> None:
        encode(frame)
        self.frames.append(frame)

    def note(self) -> None:
        self.activity.append(len(self.streams))

    def start(self, text: str = "hi") -> AsyncGenerator[WorkerEvent, None]:
        return self.streams.generate(RawPrompt(text), PredictionConfig(seed=7))


def step(*parts: SequenceEvents) -> Step:
    return Step(parts, active=0, waiting=0)


async def start(events: AsyncGenerator[WorkerEvent, None]) -> asyncio.Task[WorkerEvent]:
    """Wait for the first event; the sequence has been sent when this returns."""
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    return first


def test_events_reach_their_own_stream() -> None:
    async def body() -> None:
        sent = Sent()
        one, two = sent.start(), sent.start()
        first, second = await start(one), await start(two)
        assert sent.frames[0] == Generate(1, RawPrompt("hi"), {"seed": 7})
        sent.streams.deliver(
            step(SequenceEvents(2, (MessageDelta("b"), END)), SequenceEvents(1, (END,)))
        )
        assert await second == MessageDelta("b")
        assert await first == END
        assert [event async for event in two] == [END]
        assert [event async for event in one] == []
        assert sent.activity == [1, 0]
        assert not any(isinstance(frame, Cancel) for frame in sent.frames)

    asyncio.run(body())


def test_who_ends_in_the_same_frame_lets_the_text_of_others_go_first() -> None:
    async def body() -> None:
        sent, told = Sent(), list[tuple[str, type[WorkerEvent]]]()

        async def read(name: str) -> None:
            async for event in sent.start():
                told.append((name, type(event)))

        async with asyncio.TaskGroup() as readers:
            for name in "ab":
                readers.create_task(read(name))
            await asyncio.sleep(0)
            last = (MessageDelta("the last"), END)
            sent.streams.deliver(step(SequenceEvents(1, last), SequenceEvents(2, last)))
        assert told == [("a", MessageDelta), ("b", MessageDelta), ("a", ChatEnd), ("b", ChatEnd)]

    asyncio.run(body())


def test_closing_the_iterator_cancels_at_once() -> None:
    async def body() -> None:
        sent = Sent()
        events = sent.start()
        first = await start(events)
        sent.streams.deliver(step(SequenceEvents(1, (MessageDelta("a"),))))
        await first
        await events.aclose()
        assert sent.frames[-1] == Cancel(1)
        assert sent.activity == [1, 0]
        sent.streams.deliver(step(SequenceEvents(1, (MessageDelta("late"),))))

    asyncio.run(body())


def test_cancelling_the_reader_cancels_the_sequence() -> None:
    async def body() -> None:
        sent = Sent()
        first = await start(sent.start())
        first.cancel()
        await asyncio.wait({first})
        assert sent.frames[-1] == Cancel(1)

    asyncio.run(body())


def test_an_error_of_the_sequence_is_raised_after_what_came_before() -> None:
    async def body() -> None:
        sent = Sent()
        events = sent.start()
        first = await start(events)
        error = WireError("template_failed", "no")
        sent.streams.deliver(step(SequenceEvents(1, (MessageDelta("a"),), error)))
        assert await first == MessageDelta("a")
        with pytest.raises(TemplateFailed, match="no"):
            await anext(events)
        assert len(sent.frames) == 1

    asyncio.run(body())


def test_every_stream_fails_with_an_error_of_its_own() -> None:
    async def body() -> None:
        sent = Sent()
        waits = [await start(sent.start()) for _ in range(3)]
        sent.streams.close(lambda: EngineCrashed("gone", returncode=-9))
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(error, EngineCrashed) for error in errors)
        assert len(set(map(id, errors))) == 3
        assert sent.activity == [1, 0]
        with pytest.raises(EngineCrashed):
            await anext(sent.start())
        assert len(sent.frames) == 3

    asyncio.run(body())


@pytest.mark.parametrize(
    ("text", "kind"), [("x" * MAX_BYTES_TO_WORKER, BodyTooLarge), ("\ud800", InvalidParameter)]
)
def test_a_prompt_that_cannot_be_sent_is_refused(text: str, kind: type[Exception]) -> None:
    async def body() -> None:
        sent = Sent()
        with pytest.raises(kind):
            await anext(sent.start(text))
        assert sent.frames == []
        assert sent.activity == [1, 0]

    asyncio.run(body())


def test_a_reader_that_lags_gets_longer_pieces() -> None:
    async def body() -> None:
        sent = Sent()
        events = sent.start()
        first = await start(events)
        for index in range(5000):
            sent.streams.deliver(step(SequenceEvents(1, (MessageDelta(f"{index} "),))))
        sent.streams.deliver(step(SequenceEvents(1, (END,))))
        got = [await first, *[event async for event in events]]
        assert len(got) <= MAX_BACKLOG + 2
        text = "".join(event.text for event in got if isinstance(event, MessageDelta))
        assert text == "".join(f"{index} " for index in range(5000))
        assert got[-1] == END

    asyncio.run(body())


def test_compacting_keeps_order_and_meaning() -> None:
    events: list[WorkerEvent] = [
        PromptProgress(1, 9),
        PromptProgress(9, 9),
        MessageDelta("a"),
        MessageDelta("b"),
        END,
    ]
    assert compact(events) == [PromptProgress(9, 9), MessageDelta("ab"), END]
