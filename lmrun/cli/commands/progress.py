"""How the actions of an apply look while they run: bars for a terminal, lines for anything else.

It knows neither the server nor the plan.
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from lmrun.cli.terminal import Terminal, paint, printable, show_bytes
from lmrun.reconcile.outcome import (
    ActionKind,
    ActionProgress,
    ActionStarted,
    Outcome,
)

_DOING: dict[ActionKind, str] = {
    "Listen": "opening",
    "Load": "loading",
    "Reload": "reloading",
    "Update": "updating",
    "Unload": "unloading",
}
_DONE: dict[ActionKind, str] = {
    "Listen": "listening",
    "Load": "loaded",
    "Reload": "reloaded",
    "Update": "updated",
    "Unload": "unloaded",
}

_PHASES = {"fetch": "downloading", "load": "loading", "verify": "hashing"}


def render_outcome(outcome: Outcome) -> str:
    """`✓ assistant loaded in 1.2 s`, or what went wrong and what to do."""
    if outcome.error is None:
        done = f"{outcome.target} {_DONE[outcome.kind]} in {outcome.seconds:.1f} s"
        return f"{paint('✓', 'good')} {printable(done)}"
    failed = printable(f"{outcome.target} not {_DONE[outcome.kind]}: {outcome.error}")
    hint = f"\n  {printable(outcome.hint)}" if outcome.hint else ""
    return f"{paint('✗', 'bad')} {failed}{hint}"


class Lines:
    """One line when an action starts to fetch, one when it ends."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._fetching: set[str] = set()

    def start(self, event: ActionStarted) -> None:
        self._terminal.tell(f"  {event.target}: {_DOING[event.kind]}")

    def advance(self, event: ActionProgress) -> None:
        if event.phase == "fetch" and event.target not in self._fetching:
            self._fetching.add(event.target)
            size = f" {show_bytes(event.total)}" if event.total else ""
            self._terminal.tell(f"  {event.target}: downloading{size}")

    def end(self, outcome: Outcome) -> None:
        self._terminal.tell(render_outcome(outcome))

    def close(self) -> None:
        pass


class Bars:
    """A bar per running action, replaced by its outcome when it ends."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            _AmountColumn(),
            console=Console(stderr=True, highlight=False, markup=False),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._phases: dict[str, str] = {}
        self._progress.start()

    def start(self, event: ActionStarted) -> None:
        name = f"{event.target}: {_DOING[event.kind]}"
        self._tasks[event.target] = self._progress.add_task(name, total=None, phase="")

    def advance(self, event: ActionProgress) -> None:
        task = self._tasks.get(event.target)
        if task is None:
            return
        if self._phases.get(event.target) != event.phase:
            # Speed is measured within a phase: bytes and shares do not add up.
            self._phases[event.target] = event.phase
            name = f"{event.target}: {_PHASES[event.phase]}"
            self._progress.reset(task, total=event.total, description=name, phase=event.phase)
        self._progress.update(task, completed=event.done, total=event.total)

    def end(self, outcome: Outcome) -> None:
        task = self._tasks.pop(outcome.target, None)
        if task is not None:
            self._progress.remove_task(task)
        self._progress.console.print(Text.from_ansi(render_outcome(outcome)), soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class FileBars:
    """One bar, for the file that is downloaded or hashed now."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True, highlight=False, markup=False),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None, visible=False)
        self._shown: tuple[str, str] | None = None
        self._progress.start()

    def advance(self, verb: str, what: str, done: int, total: int | None) -> None:
        if self._shown != (verb, what):
            self._shown = (verb, what)
            name = printable(f"{what}: {_PHASES[verb]}")
            self._progress.reset(self._task, total=total, description=name, visible=True)
        self._progress.update(self._task, completed=done, total=total)

    def close(self) -> None:
        self._progress.stop()


class _AmountColumn(ProgressColumn):
    """Bytes and their speed while fetching, a share while loading."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = DownloadColumn()
        self._speed = TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        if task.fields["phase"] == "fetch":
            return Text.assemble(self._bytes.render(task), "  ", self._speed.render(task))
        return Text(f"{task.percentage:.0f} %" if task.fields["phase"] == "load" else "")
