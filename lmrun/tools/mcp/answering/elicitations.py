"""Questions of MCP servers that wait for somebody: put to whoever follows, answered by one of them.

It knows neither who follows nor by which door.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from lmrun.errors import ElicitationNotFound, InvalidParameter
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed, ElicitationEvent
from lmrun.tools.schemas.validation import SchemaUnusable, find_errors


class Elicitations:
    """All open questions. Where nobody follows there is nobody to ask: the answer is no."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[str, tuple[ElicitationAsked, asyncio.Future[Elicited]]] = {}
        self._followers: set[asyncio.Queue[ElicitationEvent | None]] = set()

    async def ask(self, question: Elicitation) -> Elicited:
        """What somebody answers. The caller bounds the wait; cancelling this closes the
        question."""
        if not self._followers:
            return Elicited("decline")
        id = f"elicit_{next(self._numbers)}"
        asked = ElicitationAsked(
            id, question.server, question.message, question.schema, question.url
        )
        answer: asyncio.Future[Elicited] = asyncio.get_running_loop().create_future()
        self._open[id] = (asked, answer)
        self._tell(asked)
        try:
            return await answer
        finally:
            del self._open[id]
            self._tell(ElicitationClosed(id))

    def answer(self, id: str, answer: Elicited) -> None:
        """The first answer counts. Raises ElicitationNotFound where the question is closed, and
        InvalidParameter for what is no answer to it: it stays open then."""
        asked, waits = self._open.get(id, (None, None))
        if asked is None or waits is None or waits.done():
            raise ElicitationNotFound(
                f"No question {id[:80]!r} is open: it was answered, or given up."
            )
        if answer.action == "accept" and asked.schema is not None:
            _require_fit(answer.content or {}, asked.schema)
        waits.set_result(answer)

    @contextmanager
    def following(self) -> Iterator[AsyncIterator[ElicitationEvent]]:
        """Somebody is there during the block, and reads what is open, then what comes, until
        `close`. When the last one leaves, what is open is declined."""
        events: asyncio.Queue[ElicitationEvent | None] = asyncio.Queue()
        for asked, _ in self._open.values():
            events.put_nowait(asked)
        self._followers.add(events)
        try:
            yield _read(events)
        finally:
            self._followers.discard(events)
            if not self._followers:
                self._decline_all()

    def close(self) -> None:
        """Nothing comes any more."""
        for events in self._followers:
            events.put_nowait(None)

    def _decline_all(self) -> None:
        for _, answer in self._open.values():
            if not answer.done():
                answer.set_result(Elicited("decline"))

    def _tell(self, event: ElicitationEvent) -> None:
        for events in self._followers:
            events.put_nowait(event)


def _require_fit(content: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    # What becomes of a schema that nothing can be checked with is up to who asks.
    with suppress(SchemaUnusable):
        for error in find_errors(dict(content), schema):
            where = ".".join(["content", *map(str, error.path)])
            raise InvalidParameter(f"{where}: {error.message}.", param=where)


async def _read(
    events: asyncio.Queue[ElicitationEvent | None],
) -> AsyncIterator[ElicitationEvent]:
    while (event := await events.get()) is not None:
        yield event
