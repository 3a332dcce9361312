"""From tokens to text, one sequence at a time: characters, stop strings, usage. Pure.

It knows no engine, no frame and no clock.
"""

from __future__ import annotations

import codecs

from lmrun.chat.events import ChatEnd, Event, MessageDelta, PromptProgress, StopReason, Usage


class _StopString:
    """How much of one stop string the text ends with, kept up to date a character at a time.

    The automaton of Knuth, Morris and Pratt: its state is the length of the longest prefix of
    the stop string that the text ends with, so no text is looked at twice.
    """

    __slots__ = ("_fallback", "_text", "matched")

    def __init__(self, text: str) -> None:
        self._text = text
        self._fallback = _fallbacks(text)
        self.matched = 0

    def take(self, character: str) -> bool:
        """Whether `character` completes the stop string."""
        matched = self.matched
        while matched and self._text[matched] != character:
            matched = self._fallback[matched - 1]
        if self._text[matched] == character:
            matched += 1
        self.matched = matched
        return matched == len(self._text)


def _fallbacks(text: str) -> list[int]:
    """For each prefix of `text`: the longest shorter prefix that it ends with."""
    table = [0] * len(text)
    matched = 0
    for index in range(1, len(text)):
        while matched and text[matched] != text[index]:
            matched = table[matched - 1]
        if text[matched] == text[index]:
            matched += 1
        table[index] = matched
    return table


class TextAssembly:
    """Bytes in, text out: whole characters, and nothing that may turn out to be a stop string.

    Text ends before the stop string that is complete first; of several complete at the same
    character, before the longest. So the text does not depend on how the bytes are cut.
    """

    def __init__(self, stop_strings: tuple[str, ...]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = [_StopString(text) for text in stop_strings]
        self._held = ""
        self.is_stopped = False

    def push(self, piece: bytes) -> str:
        """The text that is certain after `piece`."""
        return self._take(self._decoder.decode(piece))

    def finish(self) -> str:
        """What was held back; an incomplete character becomes U+FFFD."""
        shown = self._take(self._decoder.decode(b"", final=True))
        return shown if self.is_stopped else shown + self._release(0)

    def _take(self, text: str) -> str:
        before = len(self._held)
        self._held += text
        if not self._stops:
            return self._release(0)
        for index, character in enumerate(text, start=before + 1):
            complete = [stop.matched for stop in self._stops if stop.take(character)]
            if complete:
                self.is_stopped = True
                return self._held[: index - max(complete)]
        return self._release(max(stop.matched for stop in self._stops))

    def _release(self, keep: int) -> str:
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown


class Generation:
    """One running sequence: turns what the engine reports into events, and counts.

    `completion_tokens` counts what the model produced, the tokens of a stop string included.
    """

    def __init__(self, prompt_tokens: int, stop_strings: tuple[str, ...]) -> None:
        self._text = TextAssembly(stop_strings)
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = 0
        self.completion_tokens = 0

    def take_prompt(self, processed: int, cached: int) -> list[Event]:
        """The event of a piece of prompt in the context."""
        self._cached_tokens = max(self._cached_tokens, cached)
        return [PromptProgress(processed=processed, total=self._prompt_tokens)]

    def take_token(self, piece: bytes) -> list[Event]:
        """The events of a token; the last one is ChatEnd when it completes a stop string."""
        self.completion_tokens += 1
        events = _delta(self._text.push(piece))
        return [*events, self._end("stopStringFound")] if self._text.is_stopped else events

    def finish(self, reason: StopReason) -> list[Event]:
        """The last events of a sequence that ended by itself."""
        events = _delta(self._text.finish())
        return [*events, self._end("stopStringFound" if self._text.is_stopped else reason)]

    def _end(self, reason: StopReason) -> Event:
        usage = Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self._cached_tokens,
        )
        return ChatEnd(stop_reason=reason, usage=usage)


def _delta(text: str) -> list[Event]:
    return [MessageDelta(text)] if text else []
