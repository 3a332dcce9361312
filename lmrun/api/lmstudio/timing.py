"""How long the parts of a generation took, by when its events arrived. It reads no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from lmrun.tools.act.events import ActEvent, RoundStart

_AT_ONCE_S = 0.001
"""Tokens that come together, since all are forced or their text was held back, tell no pace: what
lies between their events is the server's own work."""


@dataclass(slots=True)
class Timing:
    """Moments in seconds of one clock. `started_s`: when the generation was asked for."""

    started_s: float
    first_s: float | None = None
    end_s: float | None = None

    def note(self, event: Event, now_s: float) -> None:
        """`event` has arrived."""
        if isinstance(event, ChatEnd):
            self.end_s = now_s
        if self.first_s is None and not isinstance(event, PromptProgress):
            self.first_s = now_s

    @property
    def time_to_first_token_s(self) -> float:
        """Until the first token, waiting and prompt included."""
        return (self.first_s or self.started_s) - self.started_s

    @property
    def generation_time_s(self) -> float:
        """From the first token to the end."""
        if self.first_s is None or self.end_s is None:
            return 0.0
        return self.end_s - self.first_s

    def tokens_per_second(self, tokens: int) -> float:
        """The pace of `tokens` after the first one, whose time is the prompt's; of a single one,
        and of those that come at once, that of the whole generation."""
        return _pace([self], tokens)


@dataclass(slots=True)
class RoundsTiming:
    """The same of an answer for which the model was asked several times: what its tools took is no
    part of its pace."""

    _rounds: list[Timing] = field(default_factory=list)

    def start(self, now_s: float) -> None:
        """The answer is asked for."""
        self._rounds = [Timing(now_s)]

    def note(self, event: Event | ActEvent, now_s: float) -> None:
        """`event` has arrived."""
        timing = self._rounds[-1]
        match event:
            case RoundStart(number) if number > 0:
                self._rounds.append(Timing(now_s))
            case MessageDelta() | ReasoningDelta() | ToolCallStart() | ToolCallArguments():
                timing.note(event, now_s)
                timing.end_s = now_s
            case ChatEnd():
                timing.note(event, now_s)

    @property
    def time_to_first_token_s(self) -> float:
        """Of the first round."""
        return self._rounds[0].time_to_first_token_s if self._rounds else 0.0

    def tokens_per_second(self, tokens: int) -> float:
        """The pace of `tokens` of all rounds, those after the first of each; of no more, and of
        those that come at once, that of the whole answer."""
        return _pace(self._rounds, tokens)


def _pace(rounds: Sequence[Timing], tokens: int) -> float:
    seconds = sum(timing.generation_time_s for timing in rounds)
    if tokens > len(rounds) and seconds > _AT_ONCE_S:
        return (tokens - len(rounds)) / seconds
    whole = seconds + sum(timing.time_to_first_token_s for timing in rounds)
    return tokens / whole if whole > 0 else 0.0
