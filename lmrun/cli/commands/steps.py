"""How a run looks while it goes on: calls and their results beside the answer.

It knows no server. The answer goes to stdout: to people as it is written, to a pipe only the last
round's; whatever happens on the way goes to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from lmrun.chat.events import (
    MessageDelta,
    PromptProgress,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.tools.act.events import (
    ActEnd,
    CallFailed,
    CallProgress,
    CallSucceeded,
    RoundStart,
)
from lmrun.tools.act.stream import RunEvent, RunStarted

_MODEL = -1
"""Among calls, which have indices: what the model does."""

MAX_SHOWN = 200
"""Characters of an argument, and of a result."""


def render_call(name: str, arguments: str | Mapping[str, Any]) -> str:
    """`add(a=1, b=2)`, or the arguments as they are where they are no object."""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeEncodeError):
            return f"{name}({shorten(str(arguments))})"
    shown = (f"{key}={shorten(_encode(value))}" for key, value in arguments.items())
    return f"{name}({', '.join(shown)})"


def render_result(call: str, event: CallSucceeded | CallFailed) -> str:
    """`✓ add(a=1, b=2) → 3`, or why there is no result."""
    took = f" ({event.seconds:.1f} s)" if event.seconds >= 1 else ""
    text = printable(shorten(event.text))
    if isinstance(event, CallSucceeded):
        return f"{paint('✓', 'good')} {printable(call)} → {text}{paint(took, 'dim')}"
    # What models read of a denied call begins with it.
    text = text.removeprefix(f"{event.error}: ")
    return f"{paint('✗', 'bad')} {printable(call)} → {paint(event.error, 'bad')}: {text}"


def shorten(text: str) -> str:
    """In one line, and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Running(Protocol):
    """Where calls are seen while they run."""

    def show(self, index: int, text: str) -> None: ...

    def drop(self, index: int) -> None: ...

    def end(self, index: int, line: str) -> None: ...

    def pause(self) -> None: ...


class Spinners:
    """One per call that runs, redrawn in place, until its result takes its place."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._progress: Progress | None = None
        self._tasks: dict[int, TaskID] = {}
        self._texts: dict[int, str] = {}

    def show(self, index: int, text: str) -> None:
        """Also after `pause`, when all that go on are shown again."""
        self._texts[index] = text
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._progress.start()
        for each, description in self._texts.items():
            if each not in self._tasks:
                self._tasks[each] = self._progress.add_task(description, total=None)
        self._progress.update(self._tasks[index], description=text)

    def drop(self, index: int) -> None:
        """It is over, and there is nothing to say of it."""
        self._texts.pop(index, None)
        task = self._tasks.pop(index, None)
        if task is not None and self._progress is not None:
            self._progress.remove_task(task)
        if not self._texts:
            self.pause()

    def end(self, index: int, line: str) -> None:
        self.drop(index)
        self._console.print(Text.from_ansi(line), soft_wrap=True)

    def pause(self) -> None:
        """Give the terminal free, for text or a question."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._tasks.clear()


class Lines:
    """Where nothing can be redrawn, results alone tell enough."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def show(self, index: int, text: str) -> None:
        pass

    def drop(self, index: int) -> None:
        pass

    def end(self, index: int, line: str) -> None:
        self._terminal.tell(line)

    def pause(self) -> None:
        pass


@dataclass(slots=True)
class _Call:
    """A call as the model writes it. `begins`: as much of its arguments as is shown meanwhile."""

    name: str
    pieces: list[str] = field(default_factory=list)
    begins: str = ""


class Steps:
    """The display of one run. Grows by `take`."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._streams_text = sys.stdout.isatty()
        self._running: Running = Spinners() if terminal.is_live else Lines(terminal)
        self._calls: dict[int, _Call] = {}
        self._is_mid_line = False

    def take(self, event: RunEvent) -> None:
        """The next event of the run; questions are somebody else's."""
        self._note_model(event)
        match event:
            case RoundStart():
                self._calls.clear()
            case MessageDelta(text) if self._streams_text and text:
                self._running.pause()
                self._terminal.stream(text)
                self._is_mid_line = not text.endswith("\n")
            case ToolCallStart(index, _, name):
                self._calls[index] = _Call(name)
                self._show(index)
            case ToolCallArguments(index, text) if index in self._calls:
                self._extend(index, text)
            case CallProgress(index):
                self._show(index, _render_progress(event))
            case CallSucceeded(index, _, name) | CallFailed(index, _, name):
                self._break_line()
                pieces = self._calls[index].pieces if index in self._calls else []
                call = render_call(name, "".join(pieces))
                self._running.end(index, render_result(call, event))
            case ActEnd(text) if not self._streams_text and text:
                self._terminal.show(text)

    def close(self) -> None:
        """Give the terminal free, at the beginning of a line."""
        self._running.pause()
        self._break_line()

    def _note_model(self, event: RunEvent) -> None:
        text = _describe_model(event)
        if text is None:
            self._running.drop(_MODEL)
        else:
            self._break_line()
            self._running.show(_MODEL, text)

    def _extend(self, index: int, text: str) -> None:
        call = self._calls[index]
        call.pieces.append(text)
        # What is long comes in many pieces: only its beginning is drawn.
        if len(call.begins) <= MAX_SHOWN:
            call.begins += text
            self._show(index)

    def _show(self, index: int, progress: str = "") -> None:
        self._break_line()
        if index in self._calls:
            call = self._calls[index]
            text = f"{call.name}({shorten(call.begins)}){progress}"
            self._running.show(index, printable(text))

    def _break_line(self) -> None:
        if self._is_mid_line:
            self._terminal.stream("\n")
        self._is_mid_line = False


def _describe_model(event: RunEvent) -> str | None:
    """What the model does while nothing is to be seen of it."""
    match event:
        case RunStarted(run):
            return f"waiting for {printable(run.agent or run.model)} to be ready"
        case PromptProgress(processed, total) if processed < total:
            return f"reading the prompt ({processed} of {total} tokens)"
        case RoundStart() | PromptProgress():
            return "waiting for the first word"
        case ReasoningDelta():
            return "thinking"
    return None


def _render_progress(event: CallProgress) -> str:
    share = f" {event.progress / event.total:.0%}" if event.total else f" {event.progress:g}"
    return f"{share} {shorten(event.message)}" if event.message else share
