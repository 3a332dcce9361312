"""A whole answer: its events, folded. Pure; it knows no dialect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    ReasoningDelta,
    TokenLogprob,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.chat.messages import ToolCall


@dataclass(slots=True)
class Answer:
    """What one generation said. Grows by `take`; complete when `end` is there.

    `tool_calls`: those that were begun, in their order; the last one's arguments are incomplete
    when the answer was cut off inside it.
    """

    text: str = ""
    reasoning: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    end: ChatEnd | None = None
    _calls: dict[int, ToolCall] = field(default_factory=dict)
    _arguments: dict[int, list[str]] = field(default_factory=dict)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(call.id, call.name, "".join(self._arguments[index]))
            for index, call in sorted(self._calls.items())
        )

    def take(self, event: Event) -> None:
        """The next event."""
        match event:
            case MessageDelta(text, logprobs):
                self.text += text
                self.logprobs += logprobs
            case ReasoningDelta(text, logprobs):
                self.reasoning += text
                self.logprobs += logprobs
            case ToolCallStart(index, id, name):
                self._calls[index] = ToolCall(id, name, "")
                self._arguments[index] = []
            case ToolCallArguments(index, text):
                self._arguments[index].append(text)
            case ToolCallFailed(index, text):
                del self._calls[index], self._arguments[index]
                self.text += text
            case ChatEnd():
                self.end = event


def fold(events: Iterable[Event]) -> Answer:
    """The answer that `events` make."""
    answer = Answer()
    for event in events:
        answer.take(event)
    return answer
