"""Questions at a terminal that somebody else may answer meanwhile. It knows no question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from lmrun.cli.listening import Listening
from lmrun.cli.terminal import Terminal, Withdrawn, paint

EventT = TypeVar("EventT")
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Until(Generic[EventT]):
    """Withdraws a question when one of `events` does, or when they end."""

    events: Listening[EventT]
    withdraws: Callable[[EventT], bool]

    def fileno(self) -> int:
        return self.events.fileno()

    def look(self) -> None:
        """Raises Withdrawn."""
        came, is_all = self.events.look()
        if is_all or any(map(self.withdraws, came)):
            raise Withdrawn


def put(
    question: Callable[[Terminal], AnswerT], terminal: Terminal, until: Until[EventT]
) -> AnswerT | None:
    """What `question`, which may ask several times, makes of the answers; None: it was withdrawn.
    Nothing is seen of one that was withdrawn before it was put."""
    try:
        until.look()
    except Withdrawn:
        return None
    terminal.discard_typed()
    try:
        return question(replace(terminal, watch=until))
    except Withdrawn:
        # Half an answer must not become the beginning of the next one.
        terminal.discard_typed()
        terminal.tell(paint("\n  It needs no answer any more.", "dim"))
        return None
