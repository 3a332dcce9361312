"""Generations as OpenAI's bytes: the whole answer, or the chunks of a stream.

What is the same in every chunk of a stream is encoded once. It knows neither pool nor HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from lmrun.api.openai.answers.bodies import (
    FINISH_REASONS,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    Completion,
    CompletionChoice,
    Usage,
)
from lmrun.api.openai.answers.logprobs import to_chat_logprobs, to_completion_logprobs
from lmrun.api.openai.answers.messages import Delta, to_delta, to_message
from lmrun.api.sse import to_event
from lmrun.chat.answer import Answer
from lmrun.chat.events import ChatEnd, MessageDelta, ReasoningDelta, StopReason

DONE = to_event(b"[DONE]")
_MARK = "\ufdd0 text \ufdd0"
"""Stands where the text of a chunk goes; U+FDD0 is no character, so no name contains it."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all chunks of one answer share."""

    id: str
    created: int
    model: str
    system_fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Whole:
    """A complete choice: everything it said, and its end."""

    answer: Answer
    end: ChatEnd


class Format(Protocol):
    """How one endpoint writes one answer, which has one choice or several."""

    def start(self, index: int) -> bytes:
        """What comes before the first text of a choice."""

    def delta(self, index: int, delta: Delta) -> bytes:
        """The next piece of a choice."""

    def finish(self, index: int, reason: StopReason) -> bytes:
        """The end of a choice."""

    def end(self, usage: Usage) -> bytes:
        """The end of the stream, after the end of every choice."""

    def whole(self, choices: Sequence[Whole], usage: Usage) -> bytes:
        """The answer in one piece."""


class ChatFormat:
    """/v1/chat/completions."""

    def __init__(self, stamp: Stamp, include_usage: bool, choices: int) -> None:
        self._stamp = stamp
        self._include_usage = include_usage
        self._frames = [
            _split(self._chunk(ChatChunkChoice(ChatDelta(content=_MARK), index)))
            for index in range(choices)
        ]

    def start(self, index: int) -> bytes:
        return self._chunk(ChatChunkChoice(ChatDelta(role="assistant", content=""), index))

    def delta(self, index: int, delta: Delta) -> bytes:
        scored = delta.logprobs if isinstance(delta, MessageDelta | ReasoningDelta) else ()
        if isinstance(delta, MessageDelta) and not scored:
            before, after = self._frames[index]
            return before + _encode(delta.text) + after
        logprobs = to_chat_logprobs(scored)
        return self._chunk(ChatChunkChoice(to_delta(delta), index, None, logprobs))

    def finish(self, index: int, reason: StopReason) -> bytes:
        return self._chunk(ChatChunkChoice(ChatDelta(), index, FINISH_REASONS[reason]))

    def end(self, usage: Usage) -> bytes:
        if not self._include_usage:
            return DONE
        return self._event((), usage) + DONE

    def whole(self, choices: Sequence[Whole], usage: Usage) -> bytes:
        stamp = self._stamp
        return _encode(
            ChatCompletion(
                stamp.id,
                stamp.created,
                stamp.model,
                tuple(
                    ChatChoice(
                        to_message(choice.answer),
                        FINISH_REASONS[choice.end.stop_reason],
                        index,
                        to_chat_logprobs(choice.answer.logprobs),
                    )
                    for index, choice in enumerate(choices)
                ),
                usage,
                stamp.system_fingerprint,
            )
        )

    def _chunk(self, choice: ChatChunkChoice) -> bytes:
        # Asked for, `usage` is null in every chunk but the last.
        return self._event((choice,), None if self._include_usage else UNSET)

    def _event(
        self, choices: tuple[ChatChunkChoice, ...], usage: Usage | UnsetType | None
    ) -> bytes:
        stamp = self._stamp
        chunk = ChatCompletionChunk(
            stamp.id, stamp.created, stamp.model, stamp.system_fingerprint, choices, usage=usage
        )
        return to_event(_encode(chunk))


class CompletionFormat:
    """/v1/completions."""

    def __init__(self, stamp: Stamp, include_usage: bool, choices: int) -> None:
        self._stamp = stamp
        self._include_usage = include_usage
        self._frames = [
            _split(self._chunk(CompletionChoice(_MARK, index))) for index in range(choices)
        ]

    def start(self, index: int) -> bytes:
        return b""

    def delta(self, index: int, delta: Delta) -> bytes:
        assert isinstance(delta, MessageDelta), "without a template, all is text"
        if not delta.logprobs:
            before, after = self._frames[index]
            return before + _encode(delta.text) + after
        logprobs = to_completion_logprobs(delta.logprobs)
        return self._chunk(CompletionChoice(delta.text, index, None, logprobs))

    def finish(self, index: int, reason: StopReason) -> bytes:
        return self._chunk(CompletionChoice("", index, FINISH_REASONS[reason]))

    def end(self, usage: Usage) -> bytes:
        if not self._include_usage:
            return DONE
        return to_event(self._body((), usage)) + DONE

    def whole(self, choices: Sequence[Whole], usage: Usage) -> bytes:
        return self._body(
            tuple(
                CompletionChoice(
                    choice.answer.text,
                    index,
                    FINISH_REASONS[choice.end.stop_reason],
                    to_completion_logprobs(choice.answer.logprobs),
                )
                for index, choice in enumerate(choices)
            ),
            usage,
        )

    def _chunk(self, choice: CompletionChoice) -> bytes:
        return to_event(self._body((choice,), None if self._include_usage else UNSET))

    def _body(
        self, choices: tuple[CompletionChoice, ...], usage: Usage | UnsetType | None
    ) -> bytes:
        stamp = self._stamp
        return _encode(
            Completion(
                stamp.id, stamp.created, stamp.model, choices, stamp.system_fingerprint, usage=usage
            )
        )


def _split(chunk: bytes) -> tuple[bytes, bytes]:
    before, after = chunk.split(_encode(_MARK))
    return before, after
