"""One answer of the model, listened to while it is written. It knows no tool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.errors import RunError
from lmrun.tools.act.events import ActEvent, CallFailed
from lmrun.tools.act.outlet import Outlet
from lmrun.tools.act.steps import Answered, AskedCall


@dataclass(slots=True)
class Heard:
    """What was said so far. `offers_tools`: what looked like a call and is none is answered;
    otherwise it is text."""

    offers_tools: bool
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _calls: dict[int, ToolCallStart] = field(default_factory=dict)
    _arguments: dict[int, list[str]] = field(default_factory=dict)
    _raw: dict[int, str] = field(default_factory=dict)
    _end: ChatEnd | None = None

    def take(self, event: Event) -> list[ActEvent]:
        """The next event, and what a run says of it."""
        match event:
            case PromptProgress():
                return [event]
            case MessageDelta(text):
                self._text.append(text)
                return [event]
            case ReasoningDelta(text):
                self._reasoning.append(text)
                return [event]
            case ToolCallStart(index):
                self._calls[index] = event
                self._arguments[index] = []
                return [event]
            case ToolCallArguments(index, text):
                self._arguments[index].append(text)
                return [event]
            case ToolCallFailed(index, text):
                return self._give_up(self._calls[index], text)
            case ChatEnd():
                self._end = event
                return []

    def to_step(self, number: int, elapsed_s: float) -> Answered:
        """The answer of round `number`. Raises RunError for one without an end."""
        if self._end is None:
            raise RunError("The model's answer ended without saying why.")
        return Answered(
            round=number,
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            calls=tuple(
                AskedCall(
                    index, call.id, call.name, "".join(self._arguments[index]), self._raw.get(index)
                )
                for index, call in sorted(self._calls.items())
            ),
            stop_reason=self._end.stop_reason,
            usage=self._end.usage,
            elapsed_s=elapsed_s,
        )

    def _give_up(self, call: ToolCallStart, raw: str) -> list[ActEvent]:
        if self.offers_tools:
            self._raw[call.index] = raw
            return []
        del self._calls[call.index]
        self._text.append(raw)
        text = "This is no tool call."
        return [CallFailed(call.index, call.id, call.name, "not_a_call", text), MessageDelta(raw)]


async def hear(
    events: AsyncIterator[Event], outlet: Outlet[ActEvent], *, offers_tools: bool
) -> Heard:
    """A whole answer; what it says is told on as it comes."""
    heard = Heard(offers_tools)
    async for event in events:
        for told in heard.take(event):
            await outlet.put(told)
    return heard
