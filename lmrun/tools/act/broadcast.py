"""The events of a run on their way to whoever follows it, from now or from the beginning.

Nobody who reads slowly holds the run up: what waits for him is merged. It knows no run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, MutableSequence

from lmrun.chat.events import MessageDelta, PromptProgress, ReasoningDelta, ToolCallArguments
from lmrun.errors import LmrunError
from lmrun.tools.act.events import CallProgress, Told
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed

MAX_MERGED_CHARACTERS = 4096
MAX_UNREAD = 256
"""From then on a follower is not told any more how far prompts and tools are."""


class Broadcast:
    """`past`: what was said before."""

    def __init__(self, past: Iterable[Told] = ()) -> None:
        self._said: list[Told] = list(past)
        self._followers: set[_Follower] = set()
        self._is_closed = False
        self._error: LmrunError | None = None

    @property
    def followers(self) -> int:
        """How many follow now."""
        return len(self._followers)

    @property
    def is_closed(self) -> bool:
        """Nothing will be said any more."""
        return self._is_closed

    def tell(self, event: Told) -> None:
        """The next event."""
        if not _is_passing(event):
            _add(self._said, event)
        for follower in self._followers:
            follower.tell(event)

    def close(self, error: LmrunError | None = None) -> None:
        """That was all. `error`: what followers get instead of a last event."""
        self._is_closed, self._error = True, error
        for follower in self._followers:
            follower.wake.set()

    async def follow(self) -> AsyncGenerator[Told, None]:
        """Everything that was said, shortened, and everything to come."""
        follower = _Follower(self._said)
        self._followers.add(follower)
        try:
            while True:
                while follower.unread:
                    yield follower.unread.popleft()
                if self._is_closed:
                    break
                follower.wake.clear()
                await follower.wake.wait()
            if self._error is not None:
                raise self._error
        finally:
            self._followers.discard(follower)


class _Follower:
    """What one of them has not read yet."""

    def __init__(self, said: Iterable[Told]) -> None:
        self.unread: deque[Told] = deque(said)
        self.wake = asyncio.Event()

    def tell(self, event: Told) -> None:
        if _is_passing(event) and len(self.unread) >= MAX_UNREAD:
            return
        _add(self.unread, event)
        self.wake.set()


def _is_passing(event: Told) -> bool:
    """Whether nobody misses it who comes later."""
    return isinstance(event, PromptProgress | CallProgress)


def _add(events: MutableSequence[Told], event: Told) -> None:
    """Append `event`, or make the last one longer by it. Of a question that was answered before
    anybody read it, nothing is left."""
    if isinstance(event, ElicitationClosed):
        asked = [it for it in events if isinstance(it, ElicitationAsked) and it.id == event.id]
        if asked:
            events.remove(asked[0])
            return
    merged = _merge(events[-1], event) if events else None
    if merged is None:
        events.append(event)
    else:
        events[-1] = merged


def _merge(first: Told, second: Told) -> Told | None:
    """Both as one event; None where they are two."""
    match first, second:
        case MessageDelta(), MessageDelta():
            if len(first.text) < MAX_MERGED_CHARACTERS:
                logprobs = first.logprobs + second.logprobs
                return MessageDelta(first.text + second.text, logprobs)
        case ReasoningDelta(), ReasoningDelta():
            if len(first.text) < MAX_MERGED_CHARACTERS:
                logprobs = first.logprobs + second.logprobs
                return ReasoningDelta(first.text + second.text, logprobs)
        case ToolCallArguments(), ToolCallArguments():
            if first.index == second.index and len(first.text) < MAX_MERGED_CHARACTERS:
                return ToolCallArguments(first.index, first.text + second.text)
    return None
