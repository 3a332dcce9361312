"""The streams of one worker: from its frames to an iterator of events per sequence.

They know no process: frames are handed in, and `send` takes what goes out.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable

from lmrun.chat.events import ChatEnd, Event, MessageDelta, PromptProgress
from lmrun.chat.messages import Prompt
from lmrun.errors import BodyTooLarge, InvalidParameter, LmrunError
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import Cancel, Generate, SequenceEvents, Step, ToWorker
from lmrun.worker.wire_errors import from_wire

MAX_BACKLOG = 256


class _Stream:
    """Events of one sequence, between the frames and whoever reads them at their own pace."""

    __slots__ = ("_backlog", "_failure", "_waiter")

    def __init__(self) -> None:
        self._backlog: deque[Event] = deque()
        self._failure: LmrunError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def push(self, events: Iterable[Event]) -> None:
        self._backlog.extend(events)
        if len(self._backlog) > MAX_BACKLOG:
            self._backlog = deque(compact(self._backlog))
        self._wake()

    def fail(self, error: LmrunError) -> None:
        self._failure = error
        self._wake()

    async def next(self) -> Event:
        """The next event; what came before a failure comes first."""
        while not self._backlog:
            if self._failure is not None:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._backlog.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def compact(events: Iterable[Event]) -> list[Event]:
    """The same said in fewer events: a reader that lags gets longer pieces, not more of them."""
    shorter: list[Event] = []
    for kind, group in itertools.groupby(events, type):
        if kind is MessageDelta:
            deltas = [event for event in group if isinstance(event, MessageDelta)]
            text = "".join(delta.text for delta in deltas)
            logprobs = tuple(token for delta in deltas for token in delta.logprobs)
            shorter.append(MessageDelta(text, logprobs))
        elif kind is PromptProgress:
            shorter.append(list(group)[-1])
        else:
            shorter.extend(group)
    return shorter


class Streams:
    """All open streams of one worker. `on_activity`: the first one opens, or the last one ends."""

    def __init__(self, send: Callable[[ToWorker], None], on_activity: Callable[[], None]) -> None:
        self._send = send
        self._on_activity = on_activity
        self._open: dict[int, _Stream] = {}
        self._ids = itertools.count(1)
        self._refusal: Callable[[], LmrunError] | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def generate(
        self, prompt: Prompt, prediction: PredictionConfig, draft_model: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """The events of a new sequence. Closing this iterator is the one way to cancel it.

        Raises the error that ended the sequence, and BodyTooLarge or InvalidParameter for a
        prompt that cannot be sent.
        """
        sequence = next(self._ids)
        config = prediction.model_dump(exclude_unset=True)
        stream = self._start(Generate(sequence, prompt, config, draft_model))
        try:
            while True:
                event = await stream.next()
                yield event
                if isinstance(event, ChatEnd):
                    return
        finally:
            if sequence in self._open:
                self._send(Cancel(sequence))
                self._end(sequence)

    def deliver(self, step: Step) -> None:
        """Hand out the events of a frame. Sequences that were cancelled are passed over."""
        for part in step.sequences:
            stream = self._open.get(part.id)
            if stream is not None:
                self._hand_out(stream, part)

    def close(self, make_error: Callable[[], LmrunError]) -> None:
        """End every stream, each with an error of its own, and refuse new ones with it."""
        self._refusal = make_error
        for sequence, stream in list(self._open.items()):
            stream.fail(make_error())
            self._end(sequence)

    def _start(self, frame: Generate) -> _Stream:
        if self._refusal is not None:
            raise self._refusal()
        sequence = frame.id
        stream = self._open[sequence] = _Stream()
        if len(self._open) == 1:
            self._on_activity()
        try:
            self._send(frame)
        except UnicodeEncodeError:
            self._end(sequence)
            raise InvalidParameter(
                "The prompt holds half a surrogate pair, which is no character."
            ) from None
        except ValueError as error:
            self._end(sequence)
            raise BodyTooLarge(f"The prompt is too long: {error}.") from None
        return stream

    def _hand_out(self, stream: _Stream, part: SequenceEvents) -> None:
        if part.events:
            stream.push(part.events)
        if part.error is not None:
            stream.fail(from_wire(part.error))
        if part.error is not None or (part.events and isinstance(part.events[-1], ChatEnd)):
            self._end(part.id)

    def _end(self, sequence: int) -> None:
        del self._open[sequence]
        if not self._open:
            self._on_activity()
