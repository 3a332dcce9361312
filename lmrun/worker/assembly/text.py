"""From bytes to text, one sequence at a time: whole characters, stop strings. Pure.

It knows no token and no event.
"""

from __future__ import annotations

import codecs


class _StopString:
    """How much of one stop string the text ends with, kept up to date a character at a time.

    The automaton of Knuth, Morris and Pratt: its state is the length of the longest prefix of
    the stop string that the text ends with, so no text is looked at twice.
    """

    __slots__ = ("_fallback", "matched", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._fallback = _fallbacks(text)
        self.matched = 0

    def take(self, character: str) -> bool:
        """Whether `character` completes the stop string."""
        matched = self.matched
        while matched and self.text[matched] != character:
            matched = self._fallback[matched - 1]
        if self.text[matched] == character:
            matched += 1
        self.matched = matched
        return matched == len(self.text)


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

    `decoded`: characters that the bytes have become so far, held back or not. `stopped_by`: the
    stop string that the text ended before, once it has.
    """

    def __init__(self, stop_strings: tuple[str, ...]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = [_StopString(text) for text in stop_strings]
        self._held = ""
        self.decoded = 0
        self.stopped_by: str | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string is complete."""
        return self.stopped_by is not None

    @property
    def released(self) -> int:
        """Characters given out so far."""
        return self.decoded - len(self._held)

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
        self.decoded += len(text)
        if not self._stops:
            return self._release(0)
        for index, character in enumerate(text, start=before + 1):
            complete = [stop.text for stop in self._stops if stop.take(character)]
            if complete:
                self.stopped_by = max(complete, key=len)
                return self._release(len(self._held) - index + len(self.stopped_by))
        return self._release(max(stop.matched for stop in self._stops))

    def _release(self, keep: int) -> str:
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown
