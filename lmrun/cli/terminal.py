"""What the terminal can show, and the few ways to write to it. It knows no command.

Data goes to stdout, everything about the way there to stderr. Redrawing and color are for people:
a pipe, a file, `NO_COLOR` or `TERM=dumb` gets plain lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TextIO
from unicodedata import east_asian_width

import typer

Style = Literal["good", "change", "bad", "strong", "dim"]

_STYLES: dict[Style, dict[str, str | bool]] = {
    "good": {"fg": "green"},
    "change": {"fg": "yellow"},
    "bad": {"fg": "red"},
    "strong": {"bold": True},
    "dim": {"dim": True},
}
MAX_LINE_BYTES = 4096
"""A terminal gives no more at a time."""

USUAL_COLUMNS = 80
INDENT = "    "
MAX_TAB = 8

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Withdrawn(Exception):
    """The question that somebody is about to answer needs no answer any more."""


class Watch(Protocol):
    """What may withdraw a question. Readable, as `select` has it, when it has to be looked at."""

    def fileno(self) -> int: ...

    def look(self) -> None:
        """Raises Withdrawn."""
        ...


@dataclass(frozen=True, slots=True)
class Terminal:
    """`is_live`: stderr may be redrawn. `can_ask`: somebody there can answer a question. `watch`:
    what may withdraw one; then asking raises Withdrawn."""

    color_out: bool = False
    color_err: bool = False
    is_live: bool = False
    can_ask: bool = False
    watch: Watch | None = None

    @staticmethod
    def detect(environment: Mapping[str, str]) -> Terminal:
        plain = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
        color_err = sys.stderr.isatty() and not plain
        return Terminal(
            color_out=sys.stdout.isatty() and not plain,
            color_err=color_err,
            is_live=color_err,
            can_ask=sys.stdin.isatty() and sys.stderr.isatty(),
        )

    def show(self, text: str) -> None:
        """A line, or several, of what was asked for: stdout."""
        _write(sys.stdout, text + "\n", self.color_out)

    def tell(self, text: str) -> None:
        """A line about what happens meanwhile: stderr."""
        # Where nobody can be told, what happens still goes on, and the exit code says how it went.
        with contextlib.suppress(OSError):
            _write(sys.stderr, text + "\n", self.color_err)

    def stream(self, text: str) -> None:
        """The next piece of a text that is still being written, at once: stdout."""
        _write(sys.stdout, printable(text) if sys.stdout.isatty() else text, self.color_out)

    def ask(self, question: str) -> bool:
        """A yes or no, where only a yes is one. Raises KeyboardInterrupt on Ctrl-C."""
        return self._put(f"{question} [y/N]").strip().lower() in ("y", "yes")

    def read(self, question: str) -> str | None:
        """What somebody types, without the line's end; None at the end of input. Raises
        KeyboardInterrupt on Ctrl-C."""
        line = self._put(question)
        return line.rstrip("\r\n") if line else None

    def choose(self, question: str) -> str:
        """What somebody types, in lower case; nothing at the end of input. Raises KeyboardInterrupt
        on Ctrl-C."""
        return self._put(question).strip().lower()

    @property
    def columns(self) -> int:
        """How wide it is."""
        # A terminal that does not know says 0.
        with contextlib.suppress(OSError):
            return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_COLUMNS
        return USUAL_COLUMNS

    def discard_typed(self) -> None:
        """What was typed before a question is no answer to it."""
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(sys.stdin, termios.TCIFLUSH)

    def _put(self, question: str) -> str:
        """The line that is typed behind it, with its end; nothing at the end of input, also amid a
        line: half an answer is none."""
        try:
            _write(sys.stderr, f"{question} ", self.color_err)
            return self._await_line().decode(sys.stdin.encoding)
        except KeyboardInterrupt:
            # Else what the shell says next stands behind the question.
            _write(sys.stderr, "\n", self.color_err)
            raise

    def _await_line(self) -> bytes:
        # Past the stream's own buffer, which waits for the rest of a line and watches nothing.
        line = b""
        while not line.endswith(b"\n"):
            if self.watch is not None:
                ready, _, _ = select.select([sys.stdin, self.watch], [], [])
                if self.watch in ready:
                    self.watch.look()
                if sys.stdin not in ready:
                    continue
            piece = os.read(sys.stdin.fileno(), MAX_LINE_BYTES)
            if not piece:
                return b""
            line += piece
        return line


def _write(stream: TextIO, text: str, color: bool) -> None:
    stream.write(text if color else _ANSI.sub("", text))
    stream.flush()


def paint(text: str, style: Style) -> str:
    """`text` in a color that is dropped again where none is wanted."""
    return typer.style(text, **_STYLES[style])  # type: ignore[arg-type]  # one dict, many types


def printable(text: str) -> str:
    """Foreign text without control characters: a model must not steer somebody's terminal."""
    return _CONTROL.sub("", text)


def set_in(text: str, columns: int, *, taken: int = 0) -> str:
    """Foreign text, of which every line but the first is set in, also those that a terminal of
    `columns` would begin by itself: none looks like a line of lmrun's own. `taken`: columns before
    its first line."""
    pieces: list[str] = []
    used = taken
    for char in text:
        width = MAX_TAB if char == "\t" else 1 if east_asian_width(char) in ("N", "Na", "H") else 2
        if char == "\n" or used + width > max(columns, len(INDENT) + MAX_TAB):
            pieces.append(f"\n{INDENT}")
            used = len(INDENT)
        if char != "\n":
            pieces.append(char)
            used += width
    return "".join(pieces)


def align(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows as lines with columns of equal width, two spaces apart; color takes no width."""
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        indent
        + "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    return len(_ANSI.sub("", text))


def show_bytes(count: float) -> str:
    """`98000000` → `98 MB`: decimal, three digits."""
    power = 0
    while abs(count) >= 999.5 and power < len(_BYTE_UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.3g} {_BYTE_UNITS[power]}"
