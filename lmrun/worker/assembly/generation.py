"""One running sequence, from what the engine reports to the events of a chat. Pure.

It knows no frame and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmrun.chat.events import (
    ChatEnd,
    MessageDelta,
    PromptProgress,
    StopReason,
    Usage,
    WorkerEvent,
)
from lmrun.engines.base import SequenceStats, TokenLogprob
from lmrun.worker.assembly.logprobs import LogprobQueue, list_prompt
from lmrun.worker.assembly.text import TextAssembly

_NO_STATS = SequenceStats()


class Echo:
    """A prompt that is given back before the answer. `first`: the bytes of its first token."""

    def __init__(self, prompt: bytes, first: bytes) -> None:
        self.text = prompt.decode(errors="replace")
        self._first = first
        self._scores: list[TokenLogprob] = []

    def take(self, tokens: Sequence[TokenLogprob]) -> None:
        """The next tokens of the prompt."""
        self._scores += tokens

    def to_delta(self, *, has_logprobs: bool) -> MessageDelta:
        """The prompt as the beginning of the answer."""
        return MessageDelta(
            self.text, list_prompt(self._first, self._scores) if has_logprobs else ()
        )


class Generation:
    """One running sequence: turns what the engine reports into events, and counts.

    `completion_tokens` counts what the model produced, the tokens of a stop string included.
    Stop strings are looked for in the answer only, not in an echoed prompt.
    """

    def __init__(
        self,
        prompt_tokens: int,
        stop_strings: tuple[str, ...],
        *,
        echo: Echo | None = None,
        has_logprobs: bool = False,
    ) -> None:
        self._text = TextAssembly(stop_strings)
        self._logprobs = LogprobQueue()
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = 0
        self._echo = echo
        self._has_logprobs = has_logprobs
        self._offset = len(echo.text) if echo else 0
        self.completion_tokens = 0

    def take_prompt(self, processed: int, cached: int) -> list[WorkerEvent]:
        """The event of a piece of prompt in the context."""
        self._cached_tokens = max(self._cached_tokens, cached)
        return [PromptProgress(processed=processed, total=self._prompt_tokens)]

    def take_scores(self, tokens: Sequence[TokenLogprob]) -> None:
        """Log probabilities of the prompt: they go out with it, once it is complete."""
        if self._echo is not None:
            self._echo.take(tokens)

    def take_token(
        self,
        piece: bytes,
        logprob: TokenLogprob | None = None,
        end: Callable[[], SequenceStats | None] = lambda: None,
    ) -> list[WorkerEvent]:
        """The events of a token; the last one is ChatEnd when it completes a stop string.

        `end`: ends the sequence then, and gives its counts.
        """
        self.completion_tokens += 1
        if logprob is not None:
            offset = self._offset + self._text.decoded
            self._logprobs.push(logprob, offset, has_text=bool(piece))
        events = self._give(self._text.push(piece))
        if self._text.is_stopped:
            events.append(self._end("stopStringFound", end() or _NO_STATS))
        return events

    def finish(self, reason: StopReason, stats: SequenceStats = _NO_STATS) -> list[WorkerEvent]:
        """The last events of a sequence that ended by itself."""
        events = self._give(self._text.finish())
        reason = "stopStringFound" if self._text.is_stopped else reason
        return [*events, self._end(reason, stats)]

    def _give(self, text: str) -> list[WorkerEvent]:
        """A prompt that is still to be echoed, then `text` with its tokens' log probabilities."""
        events: list[WorkerEvent] = []
        if self._echo is not None:
            events.append(self._echo.to_delta(has_logprobs=self._has_logprobs))
            self._echo = None
        logprobs = (
            self._logprobs.release(self._offset + self._text.released) if self._logprobs else ()
        )
        if text or logprobs:
            events.append(MessageDelta(text, logprobs))
        return events

    def _end(self, reason: StopReason, stats: SequenceStats) -> WorkerEvent:
        usage = Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self._cached_tokens,
            drafted_tokens=stats.drafted,
            accepted_tokens=stats.accepted,
        )
        return ChatEnd(reason, usage, self._text.stopped_by)
