"""A response from its beginning to its end: its body, and the events of its stream. Pure; it knows
no clock."""

from __future__ import annotations

import msgspec

from lmrun.api.errors import ErrorBody
from lmrun.api.responses.answers.bodies import (
    Failure,
    IncompleteDetails,
    ResponseBody,
    to_usage,
)
from lmrun.api.responses.answers.events import (
    Completed,
    Created,
    Failed,
    Incomplete,
    InProgress,
    StreamEvent,
)
from lmrun.api.responses.answers.output import Numbers, Output
from lmrun.chat.events import ChatEnd, Event, StopReason
from lmrun.tools.act.events import ActEvent

_CUT_OFF: frozenset[StopReason] = frozenset({"maxPredictedTokensReached", "contextLengthReached"})


class Writer:
    """`body`: the response as it is so far. Its methods give the stream's events."""

    def __init__(self, body: ResponseBody, numbers: Numbers, output: Output) -> None:
        self.body = body
        self._numbers = numbers
        self._output = output

    def start(self) -> list[StreamEvent]:
        """What comes before all that the model says."""
        say = self._numbers.say
        head = [say(Created, response=self.body), say(InProgress, response=self.body)]
        return [*head, *self._output.start()]

    def take(self, event: Event | ActEvent) -> list[StreamEvent]:
        """The next piece."""
        return self._output.take(event)

    def end_output(self, end: ChatEnd) -> list[StreamEvent]:
        """All output has come."""
        is_cut_off = end.stop_reason in _CUT_OFF
        events = self._output.end("incomplete" if is_cut_off else "completed")
        self.body = msgspec.structs.replace(
            self.body,
            status="incomplete" if is_cut_off else "completed",
            incomplete_details=IncompleteDetails() if is_cut_off else None,
            output=self._output.items,
        )
        return events

    @property
    def reasoning(self) -> str:
        """All that was thought, once the output has come."""
        return self._output.reasoning

    def complete(self, end: ChatEnd, reasoning_tokens: int, completed_at: int) -> StreamEvent:
        """The last event of a response that did not fail."""
        self.body = msgspec.structs.replace(
            self.body,
            usage=to_usage(end.usage, reasoning_tokens),
            completed_at=completed_at if self.body.status == "completed" else None,
        )
        kind = Completed if self.body.status == "completed" else Incomplete
        return self._numbers.say(kind, response=self.body)

    def fail(self, error: ErrorBody) -> StreamEvent:
        """The last event of one that did. What was said until then stays said."""
        self.body = msgspec.structs.replace(
            self.body,
            status="failed",
            error=Failure(error.message, error.type, error.param),
            incomplete_details=None,
            output=self._output.items,
        )
        return self._numbers.say(Failed, response=self.body)
