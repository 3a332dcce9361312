"""Answers with what another dialect adds to them. It knows neither that dialect nor HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from lmrun.api.extension import Addition, join
from lmrun.api.openai.answers.bodies import Usage
from lmrun.api.openai.answers.formats import Format, Whole
from lmrun.api.openai.answers.messages import Delta
from lmrun.chat.events import Event, StopReason

_EVENT_END = b"\n\n"


class ExtendedFormat:
    """Another format, whose whole answer, and whose last chunk of a choice, say more."""

    def __init__(self, inner: Format, addition: Addition, choices: int) -> None:
        self._inner = inner
        self._addition = addition
        self._unfinished = choices

    def start(self, index: int) -> bytes:
        return self._inner.start(index)

    def delta(self, index: int, delta: Delta) -> bytes:
        return self._inner.delta(index, delta)

    def finish(self, index: int, reason: StopReason) -> bytes:
        chunk = self._inner.finish(index, reason)
        self._unfinished -= 1
        if self._unfinished:
            return chunk
        return join(chunk.removesuffix(_EVENT_END), self._addition.make()) + _EVENT_END

    def end(self, usage: Usage) -> bytes:
        return self._inner.end(usage)

    def whole(self, choices: Sequence[Whole], usage: Usage) -> bytes:
        return join(self._inner.whole(choices, usage), self._addition.make())


async def note_all(
    events: AsyncGenerator[tuple[int, Event], None], addition: Addition
) -> AsyncGenerator[tuple[int, Event], None]:
    """The same events, after `addition` has noted them. Closing this closes `events`."""
    async with aclosing(events):
        async for index, event in events:
            addition.note(event)
            yield index, event
