"""What one session answers to its server's requests, and does about its notifications, as the
library calls it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import mcp_types as types
from mcp.client.session import ClientRequestContext
from pydantic import FileUrl

from lmrun.tools.mcp.answering.elicitation import Elicitor
from lmrun.tools.mcp.answering.sampling import Sampler
from lmrun.tools.mcp.cleaning import clean_line
from lmrun.tools.mcp.deadlines import Deadlines

MAX_LOGGED = 1000
RELATED_TASK = "io.modelcontextprotocol/related-task"

_AnswerT = TypeVar("_AnswerT", bound=types.Result)

_LEVELS: dict[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
}


@dataclass(slots=True)
class Answers:
    """`sampler`, `elicitor`: None where the server may not ask. `find_roots`: None where none
    are declared. `on_change`: its tools are no longer those that it listed."""

    server: str
    sampler: Sampler | None
    elicitor: Elicitor | None
    find_roots: Callable[[], tuple[Path, ...]] | None
    deadlines: Deadlines
    on_change: Callable[[], None]

    async def sample(
        self, context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.ErrorData:
        """A model's answer."""
        assert self.sampler is not None
        return _relate(await self.sampler.answer(params), context)

    async def elicit(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        """A person's answer; the time that it takes is not that of the server's calls."""
        assert self.elicitor is not None
        with self.deadlines.paused():
            return _relate(await self.elicitor.ask(params), context)

    async def list_roots(
        self, context: ClientRequestContext
    ) -> types.ListRootsResult | types.ErrorData:
        """The directories that it is told it may use."""
        assert self.find_roots is not None
        roots = self.find_roots()
        return types.ListRootsResult(
            roots=[types.Root(uri=FileUrl(root.as_uri()), name=root.name) for root in roots]
        )

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        """What it wants logged, as one line of lmrun's log."""
        level = _LEVELS.get(params.level, logging.ERROR)
        text = clean_line(str(params.data), MAX_LOGGED)
        logging.getLogger(f"lmrun.mcp.{self.server}").log(level, "%s", text)

    async def notice(self, message: types.ServerNotification | Exception) -> None:
        """Whatever else it says."""
        if isinstance(message, types.ToolListChangedNotification):
            self.on_change()


def _relate(
    answer: _AnswerT | types.ErrorData, context: ClientRequestContext
) -> _AnswerT | types.ErrorData:
    """What is asked on behalf of a task is answered with the task's name."""
    task = (context.meta or {}).get(RELATED_TASK)
    if task is None or isinstance(answer, types.ErrorData):
        return answer
    return answer.model_copy(update={"meta": {RELATED_TASK: task}})
