"""Reasoning between marks, such as `<think>…</think>`, before what a model says. Pure; it knows no
tool-call format.

Only where an answer begins, or where another thought ended, does a mark open reasoning: later it is
something the model talks of. A prompt that ends with the opening mark leaves it out of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lmrun.chat.formats.base import Parser, Piece, Text, Thought
from lmrun.chat.formats.reading.feed import find_first


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """`start` and `end`: the marks. `reveals_special`: they are control tokens, whose text an
    engine gives only when asked."""

    start: str
    end: str
    reveals_special: bool = False

    def is_open(self, prompt_end: str) -> bool:
        """Whether the answer to a prompt that ends like this begins inside of reasoning."""
        return prompt_end.rstrip().endswith(self.start)


FORMATS = (
    ReasoningFormat("<think>", "</think>"),
    ReasoningFormat("[THINK]", "[/THINK]", reveals_special=True),
    ReasoningFormat("<seed:think>", "</seed:think>", reveals_special=True),
    ReasoningFormat("<mm:think>", "</mm:think>", reveals_special=True),
)


def choose_reasoning(template: str) -> ReasoningFormat | None:
    """The marks that a chat template speaks of: to show earlier reasoning, to leave it out, or to
    ask for it. None when there are none."""
    for each in FORMATS:
        if each.start in template or each.end in template:
            return each
    return None


class ReasoningParser:
    """Takes reasoning out of an answer, white space around it too, and leaves the rest to `inner`.

    `is_open`: the answer begins inside of reasoning.
    """

    def __init__(self, format: ReasoningFormat, inner: Parser, *, is_open: bool) -> None:
        self._format = format
        self._inner = inner
        self._place: Literal["before", "inside", "behind"] = "inside" if is_open else "before"
        self._text = ""
        self._has_thought = False
        self._has_begun = False

    def push(self, text: str) -> list[Piece]:
        if self._place == "behind":
            return self._inner.push(text)
        self._text += text
        pieces: list[Piece] = []
        while self._advance(pieces):
            pass
        return pieces

    def finish(self, *, is_cut_off: bool = False) -> list[Piece]:
        if self._place == "behind":
            return self._inner.finish(is_cut_off=is_cut_off)
        if self._place == "inside":
            return self._think(self._text.rstrip())
        said = self._inner.push(self._leave_out_space())
        return [*said, *self._inner.finish(is_cut_off=is_cut_off)]

    def _advance(self, pieces: list[Piece]) -> bool:
        """Read on; whether there may be more to read."""
        if self._place == "before":
            return self._look_for_start(pieces)
        return self._place == "inside" and self._look_for_end(pieces)

    def _look_for_start(self, pieces: list[Piece]) -> bool:
        start = self._format.start
        said = self._text.lstrip()
        if said.startswith(start):
            self._place, self._text, self._has_begun = "inside", said[len(start) :], False
            return True
        if not start.startswith(said):
            self._place = "behind"
            pieces += self._inner.push(self._leave_out_space())
        return False

    def _look_for_end(self, pieces: list[Piece]) -> bool:
        end = self._format.end
        begin, _ = find_first(self._text, (end,))
        if begin >= 0:
            pieces += self._think(self._text[:begin].rstrip())
            self._place, self._text = "before", self._text[begin + len(end) :]
            self._has_thought = True
            return True
        certain = self._text[: len(self._text) - _count_open(self._text, end)].rstrip()
        pieces += self._think(certain)
        self._text = self._text[len(certain) :]
        return False

    def _think(self, text: str) -> list[Piece]:
        said = text if self._has_begun else text.lstrip()
        self._has_begun = self._has_begun or bool(said)
        return [Thought(said)] if said else []

    def _leave_out_space(self) -> str:
        return self._text.lstrip() if self._has_thought else self._text


class InlineThoughts:
    """Gives as text what `inner` takes for reasoning."""

    def __init__(self, inner: Parser) -> None:
        self._inner = inner

    def push(self, text: str) -> list[Piece]:
        return _to_texts(self._inner.push(text))

    def finish(self, *, is_cut_off: bool = False) -> list[Piece]:
        return _to_texts(self._inner.finish(is_cut_off=is_cut_off))


def _to_texts(pieces: list[Piece]) -> list[Piece]:
    return [Text(piece.text) if isinstance(piece, Thought) else piece for piece in pieces]


def _count_open(text: str, marker: str) -> int:
    """Characters at the end of `text` that may go on as `marker`."""
    longest = min(len(text), len(marker) - 1)
    return next((n for n in range(longest, 0, -1) if marker.startswith(text[-n:])), 0)
