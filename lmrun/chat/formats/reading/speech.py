"""Text and reasoning on their way out of an answer: the white space around them. It knows no
markup.

White space on both sides of calls separates the texts around them once, and is dropped where there
is no text on both sides. Around reasoning all of it is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from lmrun.chat.formats.base import Piece, Text, Thought

BETWEEN = "\n\n"
"""Between two messages of one kind, where a format tells messages of one answer apart."""


class Speech:
    """White space is held back until it is known what follows it."""

    def __init__(self) -> None:
        self._space = ""
        self._separator = ""
        self._is_beside = False
        self._has_spoken = False
        self._thought_space = ""
        self._is_thinking = False
        self._has_thought = False

    def say(self, text: str) -> Iterator[Piece]:
        """More of the text."""
        text = self._space + text
        body = text.rstrip()
        self._space = text[len(body) :]
        if body:
            if self._is_beside:
                said = body.lstrip()
                body = self.take_separator(body[: len(body) - len(said)]) + said
            self._has_spoken = True
            yield Text(body)

    def separate(self, space: str = "") -> None:
        """Something that is no text stands here. `space`: what separates the texts around it where
        there is no white space before it."""
        self._separator = self._separator or self._space or space
        self._space = ""
        self._is_beside = True

    def take_separator(self, space: str = "") -> str:
        """What stands before the text that comes next, which brings `space` along."""
        separator = (self._separator or space) if self._has_spoken else ""
        self._separator, self._is_beside, self._has_spoken = "", False, True
        return separator

    def end(self) -> Iterator[Piece]:
        """No more text comes."""
        if self._space and not self._is_beside:
            yield Text(self._space)
        self._space = ""

    def think(self, text: str) -> Iterator[Piece]:
        """More of the reasoning."""
        text = self._thought_space + text
        if not self._is_thinking:
            text = text.lstrip()
        body = text.rstrip()
        self._thought_space = text[len(body) :]
        if body:
            between = BETWEEN if self._has_thought and not self._is_thinking else ""
            self._is_thinking = self._has_thought = True
            yield Thought(between + body)

    def end_thought(self) -> None:
        """This piece of reasoning is complete."""
        self._thought_space = ""
        self._is_thinking = False
