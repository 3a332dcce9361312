"""A run that is going on in this process: its followers, and the questions that it asks.

It knows neither the store nor what the run does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Literal, NamedTuple

from lmrun.errors import LmrunError, RunConflict, RunError
from lmrun.tools.act.broadcast import Broadcast
from lmrun.tools.act.events import ActEnd, Told
from lmrun.tools.act.requests import RunState
from lmrun.tools.policy.gate import Question, Reply

log = logging.getLogger("lmrun.runs")

Stopped = Literal["cancelled", "interrupted"]


class _Waiting(NamedTuple):
    question: Question
    reply: asyncio.Future[Reply]


class LiveRun:
    """`is_background`: it goes on without followers. `is_awaited`: whoever has left may come back
    with its idempotency key. `past`: its events in an earlier process."""

    work: asyncio.Task[ActEnd]
    """The run itself."""

    def __init__(
        self,
        id: str,
        *,
        is_background: bool,
        is_awaited: bool = False,
        past: Iterable[Told] = (),
    ) -> None:
        self.id = id
        self.is_background = is_background
        self._is_awaited = is_awaited
        self.broadcast = Broadcast(past)
        self._stopped_as: Stopped = "interrupted"
        """What it is if its work is cancelled."""
        self._waiting: list[_Waiting] = []
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def questions(self) -> tuple[Question, ...]:
        """Those that nobody has answered yet."""
        return tuple(it.question for it in self._waiting if not it.reply.done())

    async def ask(self, question: Question) -> Reply:
        """Wait for the reply."""
        waiting = _Waiting(question, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            return await waiting.reply
        finally:
            self._waiting.remove(waiting)

    def reply(self, id: str, reply: Reply) -> None:
        """Answer the question called `id`. Raises RunConflict when none waits."""
        for waiting in self._waiting:
            if waiting.question.id == id and not waiting.reply.done():
                waiting.reply.set_result(reply)
                return
        raise RunConflict(
            f"The run {self.id} has no question {id[:80]!r} that waits for a reply.",
            hint="It may have been answered already.",
        )

    def begin(
        self,
        work: Coroutine[Any, Any, ActEnd],
        see_out: Coroutine[Any, Any, None],
        patience_s: float,
    ) -> None:
        """`see_out` waits for `work`. `patience_s`: how long somebody is waited for who follows."""
        self.work = asyncio.create_task(work)
        self._over = asyncio.create_task(see_out)
        self._patience_s = patience_s
        self._wait_for_somebody()

    async def leave(self) -> None:
        """A follower has left. Waits until the run has stopped, if he was the last."""
        if self._is_deserted and self._is_awaited:
            self._wait_for_somebody()
        elif self._is_deserted:
            await self.stop("cancelled")

    async def stop(self, state: Stopped) -> None:
        """End it, and wait until it has ended."""
        if not self.work.done():
            self._stopped_as = state
            self.work.cancel()
        await asyncio.shield(self._over)

    def judge(self) -> tuple[RunState, ActEnd | None, LmrunError | None]:
        """What became of its work, which is done."""
        if self.work.cancelled():
            return self._stopped_as, None, stopped(self.id, self._stopped_as)
        error = self.work.exception()
        if error is None:
            return "completed", self.work.result(), None
        if not isinstance(error, LmrunError):
            log.error("the run %s has failed", self.id, exc_info=error)
            error = RunError("lmrun has failed in this run; its log says how.")
        return "failed", None, error

    def close(self, end: ActEnd | None, error: LmrunError | None) -> None:
        """Say the last of it."""
        if self._alarm is not None:
            self._alarm.cancel()
        if end is not None:
            self.broadcast.tell(end)
        self.broadcast.close(error)

    @property
    def _is_deserted(self) -> bool:
        """Nobody follows it, and it is somebody's."""
        closed = self.broadcast.is_closed
        return not self.is_background and not closed and not self.broadcast.followers

    def _wait_for_somebody(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(self._patience_s, self._give_up)

    def _give_up(self) -> None:
        if self._is_deserted and not self.work.done():
            self._stopped_as = "cancelled"
            self.work.cancel()


def stopped(id: str, state: Stopped) -> RunError:
    """What followers of a stopped run get."""
    hint = "Resume it to go on." if state == "interrupted" else None
    return RunError(f"The run {id} was {state}.", hint=hint)
