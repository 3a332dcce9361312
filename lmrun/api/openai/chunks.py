"""Generations as OpenAI's bytes: the whole answer, or the chunks of a stream.

What is the same in every chunk of a stream is encoded once. It knows neither pool nor HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from lmrun.api.openai.answers import (
    FINISH_REASONS,
    AssistantMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    Completion,
    CompletionChoice,
    Usage,
    to_usage,
)
from lmrun.api.sse import to_event
from lmrun.chat.events import ChatEnd

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


class Format(Protocol):
    """How one endpoint writes one answer."""

    def start(self) -> bytes:
        """What comes before the first text."""

    def delta(self, text: str) -> bytes:
        """The next piece of text."""

    def end(self, end: ChatEnd) -> bytes:
        """Everything after the last text."""

    def whole(self, text: str, end: ChatEnd) -> bytes:
        """The answer in one piece."""


class ChatFormat:
    """/v1/chat/completions."""

    def __init__(self, stamp: Stamp, include_usage: bool) -> None:
        self._stamp = stamp
        self._include_usage = include_usage
        self._before, self._after = _split(self._chunk(ChatChunkChoice(ChatDelta(content=_MARK))))

    def start(self) -> bytes:
        return self._chunk(ChatChunkChoice(ChatDelta(role="assistant", content="")))

    def delta(self, text: str) -> bytes:
        return self._before + _encode(text) + self._after

    def end(self, end: ChatEnd) -> bytes:
        last = self._chunk(ChatChunkChoice(ChatDelta(), FINISH_REASONS[end.stop_reason]))
        usage = self._event((), to_usage(end.usage)) if self._include_usage else b""
        return last + usage + DONE

    def whole(self, text: str, end: ChatEnd) -> bytes:
        stamp = self._stamp
        choice = ChatChoice(AssistantMessage(text), FINISH_REASONS[end.stop_reason])
        usage = to_usage(end.usage)
        return _encode(
            ChatCompletion(
                stamp.id, stamp.created, stamp.model, (choice,), usage, stamp.system_fingerprint
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

    def __init__(self, stamp: Stamp, include_usage: bool) -> None:
        self._stamp = stamp
        self._include_usage = include_usage
        self._before, self._after = _split(self._chunk(CompletionChoice(_MARK, None)))

    def start(self) -> bytes:
        return b""

    def delta(self, text: str) -> bytes:
        return self._before + _encode(text) + self._after

    def end(self, end: ChatEnd) -> bytes:
        last = self._chunk(CompletionChoice("", FINISH_REASONS[end.stop_reason]))
        usage = to_event(self._body((), to_usage(end.usage))) if self._include_usage else b""
        return last + usage + DONE

    def whole(self, text: str, end: ChatEnd) -> bytes:
        choice = CompletionChoice(text, FINISH_REASONS[end.stop_reason])
        return self._body((choice,), to_usage(end.usage))

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
