"""How long the parts of a generation took, by when its events arrived. It reads no clock."""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.chat.events import ChatEnd, Event, PromptProgress


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
        that of the whole generation."""
        seconds = self.generation_time_s
        if tokens > 1 and seconds > 0:
            return (tokens - 1) / seconds
        whole = self.time_to_first_token_s + seconds
        return tokens / whole if whole > 0 else 0.0
