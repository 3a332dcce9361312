"""Answers of which at most one call is wanted. It knows no format."""

from __future__ import annotations

from lmrun.chat.formats.base import (
    CallArguments,
    CallBroken,
    CallEnd,
    CallStart,
    Parser,
    Piece,
    Text,
)


class OneCall:
    """Leaves out calls behind the first complete one: nobody asked for them, and a format without
    a grammar for what is optional cannot keep the model from making them."""

    def __init__(self, inner: Parser) -> None:
        self._inner = inner
        self._is_complete = False
        self._leaves_out = False

    def push(self, text: str) -> list[Piece]:
        return self._choose(self._inner.push(text))

    def finish(self, *, is_cut_off: bool = False) -> list[Piece]:
        return self._choose(self._inner.finish(is_cut_off=is_cut_off))

    def _choose(self, pieces: list[Piece]) -> list[Piece]:
        chosen: list[Piece] = []
        for piece in pieces:
            match piece:
                case CallStart():
                    self._leaves_out = self._is_complete
                case CallBroken(text) if self._leaves_out:
                    piece = Text(text)
                    self._leaves_out = False
            if not (self._leaves_out and isinstance(piece, CallStart | CallArguments | CallEnd)):
                chosen.append(piece)
            self._is_complete = self._is_complete or isinstance(piece, CallEnd)
        return chosen
