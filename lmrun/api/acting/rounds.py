"""A model as one request uses it, over all rounds of its run. It knows no tool and no dialect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from lmrun.chat.events import ChatEnd, Event, Usage
from lmrun.chat.messages import Tool
from lmrun.chat.request import Request
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.events import RoundStart
from lmrun.tools.act.steps import Step, Transcript

Ask = Callable[[Request, PredictionConfig], AsyncGenerator[Event, None]]


@dataclass(slots=True)
class Rounds:
    """Called once a round. `max_tokens`: of all rounds together; when they are used up, the answer
    is cut off. `shown`: tools that the model is told of otherwise than their calls are checked."""

    ask: Ask
    max_tokens: int | None = None
    shown: Mapping[str, Tool] = field(default_factory=dict)
    _written: int = 0

    async def __call__(
        self, request: Request, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        """The events of one round."""
        left = None if self.max_tokens is None else self.max_tokens - self._written
        if left is not None:
            if left <= 0:
                yield ChatEnd("maxPredictedTokensReached", Usage(0, 0))
                return
            prediction = prediction.overlay(PredictionConfig(max_tokens=left))
        tools = tuple(self.shown.get(tool.name, tool) for tool in request.tools)
        async with aclosing(self.ask(replace(request, tools=tools), prediction)) as events:
            async for event in events:
                if isinstance(event, ChatEnd):
                    self._written += event.usage.completion_tokens
                yield event


@dataclass(slots=True)
class Notebook:
    """What a run has done, as it writes it down: for the dialect, which keeps it or not."""

    transcript: Transcript = field(default_factory=lambda: Transcript(()))

    async def write(self, step: Step) -> None:
        self.transcript.take(step)


def is_beginning(event: object) -> bool:
    """Whether a run says with `event` that it begins: nothing has come of the model yet, so that a
    failure is still one of the request."""
    return isinstance(event, RoundStart) and event.round == 0
