"""Answers without markup: all text is the message. It knows no format."""

from __future__ import annotations

from lmrun.chat.formats.base import Piece, Text


class PlainParser:
    """Gives what it takes."""

    def push(self, text: str) -> list[Piece]:
        return [Text(text)] if text else []

    def finish(self, *, is_cut_off: bool = False) -> list[Piece]:
        return []
