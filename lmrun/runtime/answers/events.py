"""The events of one sequence on their way to whoever reads them at their own pace."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Sequence

from lmrun.chat.events import MessageDelta, PromptProgress, WorkerEvent
from lmrun.errors import LmrunError

MAX_BACKLOG = 256


class EventStream:
    """Between the frames and a reader: a backlog that stays short."""

    __slots__ = ("_backlog", "_failure", "_waiter")

    def __init__(self) -> None:
        self._backlog: deque[WorkerEvent] = deque()
        self._failure: LmrunError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def push(self, events: Sequence[WorkerEvent]) -> None:
        """Take the events of a frame. Pieces of text that came together go on together: each one
        alone would cost a chunk of an answer, and a system call."""
        self._backlog.extend(compact(events) if len(events) > 1 else events)
        if len(self._backlog) > MAX_BACKLOG:
            self._backlog = deque(compact(self._backlog))
        self._wake()

    def fail(self, error: LmrunError) -> None:
        """End it with an error."""
        self._failure = error
        self._wake()

    async def next(self) -> WorkerEvent:
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


def compact(events: Iterable[WorkerEvent]) -> list[WorkerEvent]:
    """The same said in fewer events: longer pieces of text, and only the newest progress."""
    shorter: list[WorkerEvent] = []
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
