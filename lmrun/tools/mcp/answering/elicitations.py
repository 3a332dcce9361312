"""Questions of MCP servers that wait for somebody: put to whoever follows them all, and to runs
that somebody attends to; answered by one of them. It knows neither who that is nor by which door.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from lmrun.errors import ElicitationNotFound, InvalidParameter
from lmrun.tools.mcp.answering.faults import find_faults
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed, ElicitationEvent

Tell = Callable[[ElicitationEvent], None]


class _Open(NamedTuple):
    """A question that waits. `runs`: on whose behalf it may be."""

    asked: ElicitationAsked
    runs: frozenset[str]
    answer: asyncio.Future[Elicited]


class Elicitations:
    """All open questions. Where nobody is there to be asked, the answer is no."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[str, _Open] = {}
        self._followers: set[asyncio.Queue[ElicitationEvent | None]] = set()
        self._attended: dict[str, Tell] = {}

    async def ask(self, question: Elicitation) -> Elicited:
        """What somebody answers. The caller bounds the wait; cancelling this closes the
        question."""
        if not self._is_heard(question.runs):
            return Elicited("decline")
        id = f"elicit_{next(self._numbers)}"
        asked = ElicitationAsked(
            id, question.server, question.message, question.schema, question.url
        )
        answer: asyncio.Future[Elicited] = asyncio.get_running_loop().create_future()
        self._open[id] = _Open(asked, question.runs, answer)
        self._tell(asked, question.runs)
        try:
            return await answer
        finally:
            del self._open[id]
            self._tell(ElicitationClosed(id), question.runs)

    def answer(self, id: str, answer: Elicited) -> None:
        """The first answer counts. Raises ElicitationNotFound where the question is closed, and
        InvalidParameter for what is no answer to it, a line for each field that is wrong: it stays
        open then."""
        waiting = self._open.get(id)
        if waiting is None or waiting.answer.done():
            raise ElicitationNotFound(
                f"No question {id[:80]!r} is open: it was answered, or given up."
            )
        if answer.action == "accept" and waiting.asked.schema is not None:
            _require_fit(answer.content or {}, waiting.asked.schema)
        waiting.answer.set_result(answer)

    @contextmanager
    def following(self) -> Iterator[AsyncIterator[ElicitationEvent]]:
        """Somebody is there during the block, and reads what is open, then what comes, until
        `close`. When the last one leaves, what is open is declined."""
        events: asyncio.Queue[ElicitationEvent | None] = asyncio.Queue()
        for waiting in self._open.values():
            events.put_nowait(waiting.asked)
        self._followers.add(events)
        try:
            yield _read(events)
        finally:
            self._followers.discard(events)
            self._decline_unheard()

    @contextmanager
    def attending(self, run: str, tell: Tell) -> Iterator[None]:
        """Somebody is there during the block for what may be asked on behalf of `run`, and only
        for that. Once for each run at a time."""
        self._attended[run] = tell
        try:
            yield
        finally:
            del self._attended[run]
            self._decline_unheard()

    def close(self) -> None:
        """Nothing comes any more for those who follow."""
        for events in self._followers:
            events.put_nowait(None)

    def _is_heard(self, runs: frozenset[str]) -> bool:
        return bool(self._followers) or any(run in self._attended for run in runs)

    def _decline_unheard(self) -> None:
        for waiting in self._open.values():
            if not (waiting.answer.done() or self._is_heard(waiting.runs)):
                waiting.answer.set_result(Elicited("decline"))

    def _tell(self, event: ElicitationEvent, runs: frozenset[str]) -> None:
        for events in self._followers:
            events.put_nowait(event)
        for run in runs:
            if run in self._attended:
                self._attended[run](event)


def _require_fit(content: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    faults = find_faults(content, schema)
    if faults:
        message = "\n".join(["This is no answer to the form:", *(it.text for it in faults)])
        raise InvalidParameter(message, param=f"content.{faults[0].name[:80]}")


async def _read(
    events: asyncio.Queue[ElicitationEvent | None],
) -> AsyncIterator[ElicitationEvent]:
    while (event := await events.get()) is not None:
        yield event
