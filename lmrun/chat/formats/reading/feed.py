"""The text of an answer as it comes, and scripts that read it. It knows no format.

A script is a generator: it takes what is certain, gives pieces, and waits where only more text can
tell. So a format reads as if the whole answer were there, and however the answer is cut, its
pieces say the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TypeVar

from lmrun.chat.formats.base import (
    CallArguments,
    CallBroken,
    CallEnd,
    CallStart,
    Piece,
    Text,
    Thought,
)
from lmrun.chat.formats.reading.speech import Speech

ResultT = TypeVar("ResultT")

Steps = Generator[Piece | None, None, ResultT]
"""Pieces as they become certain, None where more text is needed, and what was read in the end."""

MAX_NAME_CHARACTERS = 256
"""Of a tool or of one of its arguments: what goes on longer is none."""

_SPACE = re.compile(r"\s*")


class Malformed(Exception):
    """What began as markup is none."""


class Ended(Exception):
    """The answer has ended inside of markup."""


class Feed:
    """What has come and is not read yet, and what became of what was.

    What `attempt` reads is kept until it is known to be markup.
    """

    def __init__(self) -> None:
        self._text = ""
        self._has_ended = False
        self._is_cut_off = False
        self._raw: list[str] = []
        self._in_call = False
        self._speech = Speech()

    def push(self, text: str) -> None:
        """More text has come."""
        self._text += text

    def end(self, *, is_cut_off: bool) -> None:
        """No more text comes; `is_cut_off`: the model would have gone on."""
        self._has_ended = True
        self._is_cut_off = is_cut_off

    @property
    def text(self) -> str:
        """What has come and is not read yet."""
        return self._text

    @property
    def raw(self) -> str:
        """What was read since the last text, and may be markup."""
        return "".join(self._raw)

    def take(self, count: int) -> str:
        """Read `count` characters of `text`."""
        taken, self._text = self._text[:count], self._text[count:]
        self._raw.append(taken)
        return taken

    def settle(self) -> None:
        """What was read so far is markup for certain, or was given out."""
        self._raw = []

    def more(self) -> Steps[None]:
        """Wait for more text. Raises Ended."""
        if self._has_ended:
            raise Ended
        yield None

    def peek(self) -> Steps[str]:
        """The next character, which stays unread. Raises Ended."""
        while not self._text:
            yield from self.more()
        return self._text[0]

    def skip_space(self) -> Steps[None]:
        """Read white space, if there is some, up to what follows it. Raises Ended."""
        while True:
            found = _SPACE.match(self._text)
            assert found is not None
            self.take(found.end())
            if self._text:
                return
            yield from self.more()

    def literal(self, *options: str) -> Steps[str]:
        """Read the longest of `options` that comes next; "" if none does. Raises Ended."""
        while any(len(o) > len(self._text) and o.startswith(self._text) for o in options):
            yield from self.more()
        found = max((o for o in options if self._text.startswith(o)), key=len, default="")
        return self.take(len(found))

    def expect(self, *options: str) -> Steps[str]:
        """Read one of `options`. Raises Malformed when something else comes, Ended."""
        found = yield from self.literal(*options)
        if not found:
            raise Malformed
        return found

    def matching(self, pattern: re.Pattern[str]) -> Steps[str]:
        """Read what matches `pattern`, up to the first character that does not belong to it; ""
        if nothing does. Raises Ended, and Malformed for a match of unusual length."""
        while True:
            found = pattern.match(self._text)
            end = found.end() if found else 0
            if end > MAX_NAME_CHARACTERS:
                raise Malformed
            if end < len(self._text):
                return self.take(end)
            yield from self.more()

    def until(self, *ends: str) -> Steps[tuple[str, str]]:
        """Read a name and which of `ends` closes it. Raises Ended, and Malformed when the name
        gets too long."""
        longest = max(map(len, ends))
        while True:
            begin, end = find_first(self._text, ends)
            too_long = begin if begin >= 0 else len(self._text) - longest
            if too_long > MAX_NAME_CHARACTERS:
                raise Malformed
            if begin >= 0:
                return self.take(begin), self.take(len(end))
            yield from self.more()

    def chunks(self, *ends: str) -> Generator[str | None, None, str]:
        """Read up to the first of `ends`, in pieces as they become certain; then which it was.
        At the same place the longest of them counts. Raises Ended."""
        while True:
            begin, end = find_first(self._text, ends)
            certain = len(self._text) - _count_open(self._text, ends)
            if 0 <= begin < certain or (begin >= 0 and self._has_ended):
                if begin:
                    yield self.take(begin)
                return self.take(len(end))
            if certain:
                yield self.take(certain)
            if self._has_ended:
                raise Ended
            yield None

    def collect(self, *ends: str) -> Steps[tuple[str, str]]:
        """Read text of any length up to the first of `ends`, and which it is. Raises Ended."""
        parts: list[str] = []
        chunks = self.chunks(*ends)
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as found:
                return "".join(parts), str(found.value)
            if chunk is None:
                yield None
            else:
                parts.append(chunk)

    def say_until(self, *markers: str) -> Steps[str]:
        """Text up to the first of `markers`, and which it is; "" when the answer ends before."""
        found = yield from self._give_until(markers, self._speech.say)
        self._raw = [found]
        if not found:
            yield from self._speech.end()
        return found

    def think_until(self, *markers: str) -> Steps[str]:
        """Reasoning up to the first of `markers`, and which it is; "" when the answer ends
        before."""
        found = yield from self._give_until(markers, self._speech.think)
        self._raw = [found]
        self._speech.end_thought()
        return found

    def separate(self, space: str) -> None:
        """A new message begins: `space` separates its text from what was said before."""
        self._speech.separate(space)

    def attempt(self, script: Callable[[Feed], Steps[None]]) -> Steps[None]:
        """Read markup, of which a marker may be read already. What is none is text after all."""
        try:
            yield from script(self)
        except Malformed:
            yield from self._give_back()
        except Ended:
            if self._in_call:
                self.take(len(self._text))
            if not (self._in_call and self._is_cut_off):
                yield from self._give_back()
        self.settle()

    def start_call(self, name: str, id: str | None = None) -> Iterator[Piece]:
        """A call begins. Raises Malformed when nothing can be called like this."""
        name = name.strip()
        if not name or len(name) > MAX_NAME_CHARACTERS:
            raise Malformed
        self._in_call = True
        yield CallStart(name, id)

    def end_call(self) -> Iterator[Piece]:
        """The call that began last is complete."""
        self._speech.separate()
        self._in_call = False
        self.settle()
        yield CallEnd()

    def _give_until(
        self, markers: tuple[str, ...], give: Callable[[str], Iterator[Piece]]
    ) -> Steps[str]:
        chunks = self.chunks(*markers)
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as found:
                return str(found.value)
            except Ended:
                yield from give(self.take(len(self._text)))
                return ""
            if chunk is None:
                yield None
            else:
                yield from give(chunk)

    def _give_back(self) -> Iterator[Piece]:
        if not self._in_call:
            yield from self._speech.say(self.raw)
            return
        self._in_call = False
        self._speech.separate()
        text = self.raw.lstrip()
        space = self._speech.take_separator(self.raw[: len(self.raw) - len(text)])
        yield CallBroken(space + text)


class ScriptParser:
    """A parser that follows a script. `read`: the script, from the answer's beginning on."""

    def __init__(self, read: Callable[[Feed], Steps[None]]) -> None:
        self._feed = Feed()
        self._steps = read(self._feed)

    def push(self, text: str) -> list[Piece]:
        self._feed.push(text)
        return self._collect()

    def finish(self, *, is_cut_off: bool = False) -> list[Piece]:
        self._feed.end(is_cut_off=is_cut_off)
        return self._collect()

    def _collect(self) -> list[Piece]:
        pieces: list[Piece] = []
        for piece in self._steps:
            if piece is None:
                break
            _join(pieces, piece)
        return pieces


def read_calls(feed: Feed, openings: Mapping[str, Callable[[Feed], Steps[None]]]) -> Steps[None]:
    """A whole answer: text, and after each of `openings` what its script reads."""
    while opening := (yield from feed.say_until(*openings)):
        yield from feed.attempt(openings[opening])


def find_first(text: str, markers: tuple[str, ...]) -> tuple[int, str]:
    """Where the first of `markers` begins, and which; of several there, the longest. -1: none."""
    found = [(begin, -len(m), m) for m in markers if (begin := text.find(m)) >= 0]
    begin, _, marker = min(found, default=(-1, 0, ""))
    return begin, marker


def _count_open(text: str, markers: tuple[str, ...]) -> int:
    """Characters at the end of `text` that may go on as one of `markers`."""
    longest = min(len(text), max(map(len, markers)) - 1)
    for count in range(longest, 0, -1):
        tail = text[-count:]
        if any(len(marker) > count and marker.startswith(tail) for marker in markers):
            return count
    return 0


def _join(pieces: list[Piece], piece: Piece) -> None:
    """Texts of one kind that follow each other are one."""
    last = pieces[-1] if pieces else None
    match last, piece:
        case Text(before), Text(text):
            pieces[-1] = Text(before + text)
        case Thought(before), Thought(text):
            pieces[-1] = Thought(before + text)
        case CallArguments(before), CallArguments(text):
            pieces[-1] = CallArguments(before + text)
        case _:
            pieces.append(piece)
