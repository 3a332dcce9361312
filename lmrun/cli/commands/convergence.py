"""`lmrun apply` and `lmrun down`: ask, then let the server do it and tell how it goes.

It decides nothing about models; the display of progress is handed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from lmrun.cli.background import start_server, wait_until_stopped
from lmrun.cli.client import Control
from lmrun.cli.commands.mcp import tell_unapproved
from lmrun.cli.commands.plans import render_plan
from lmrun.cli.commands.profiles import (
    find_problems,
    locate_profile,
    read_environment,
    shorten_path,
)
from lmrun.cli.commands.saved_plans import read_saved_plan
from lmrun.cli.failures import count
from lmrun.cli.terminal import Terminal, paint
from lmrun.errors import LmrunError, ProfileInvalid, ServerUnreachable
from lmrun.reconcile.outcome import (
    ActionEnded,
    ActionProgress,
    ActionStarted,
    ApplyEnded,
    ApplyEvent,
    Outcome,
    Plan,
    Planned,
)
from lmrun.store.home import Home


class Display(Protocol):
    """Where the progress of actions is seen."""

    def start(self, event: ActionStarted) -> None: ...

    def advance(self, event: ActionProgress) -> None: ...

    def end(self, outcome: Outcome) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for. `is_agreed`: unloading needs no further question.
    `locked`: the lock file beside the profile must hold."""

    path: Path
    is_agreed: bool = False
    watch: bool = False
    locked: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How an apply ended. `event`: None when it broke off. `failed`: target → what it failed of."""

    event: ApplyEnded | None
    failed: Mapping[str, str]


def apply(wish: Wish, *, terminal: Terminal, home: Home, environment: Mapping[str, str]) -> None:
    """Make the profile true and say so; of a saved plan, do just what it says.

    Raises LmrunError when it did not become true, or when a saved plan does not hold any more.
    """
    saved = read_saved_plan(wish.path)
    file = locate_profile(wish.path if saved is None else Path(saved.profile))
    control = Control(home.control_socket)
    if not control.is_listening():
        control = _start(file, terminal, home, environment)
    values = read_environment(file, environment)
    plan = control.plan(file, values) if saved is None else saved.plan
    if not wish.as_json:
        terminal.show(render_plan(plan))
    # Whoever saved a plan has seen it, and the server does nothing else.
    is_agreed = wish.is_agreed or saved is not None
    asked = require_consent(plan, replaced_profile(control, file, plan), is_agreed, terminal)
    events = control.apply(
        file,
        values,
        watch=wish.watch,
        locked=wish.locked,
        base_generation=plan.base_generation if asked else None,
        plan=saved.plan if saved is not None else None,
    )
    try:
        with closing(events):
            ending = show_json(events, terminal) if wish.as_json else follow(events, plan, terminal)
    except KeyboardInterrupt:
        terminal.tell("\nDetached. The server goes on; `lmrun status` shows how far it is.")
        raise
    check_converged(ending)
    if not wish.as_json:
        tell_unapproved(control, terminal)


def _start(file: Path, terminal: Terminal, home: Home, environment: Mapping[str, str]) -> Control:
    problems = find_problems(file, environment)
    if problems:
        # Nothing is left running for a profile that cannot be applied.
        raise ProfileInvalid(problems)
    terminal.tell(paint(f"Starting the server (log: {shorten_path(str(home.server_log))}).", "dim"))
    return start_server(home, environment)


def replaced_profile(control: Control, file: Path, plan: Plan) -> str | None:
    """The other profile that this one would take the place of, None when there is none."""
    if plan.is_empty:
        return None
    current = control.status().profile
    if current is None or not current.files or str(file) in current.files:
        return None
    return current.files[0]


def require_consent(plan: Plan, replaced: str | None, is_agreed: bool, terminal: Terminal) -> bool:
    """Whether somebody was asked and agreed to just this plan.

    Raises LmrunError when nobody agrees to what takes something away from its users.
    """
    reasons = describe_losses(plan, replaced)
    if not reasons or is_agreed:
        return False
    what = " and ".join(reasons)
    if not terminal.can_ask:
        raise LmrunError(f"This {what}; nothing was changed.", hint="--yes agrees to it.")
    if not terminal.ask(f"This {what}. Go on?"):
        raise LmrunError("Nothing was changed.")
    return True


def describe_losses(plan: Plan, replaced: str | None) -> list[str]:
    """What in the plan needs somebody's agreement, as verbs."""
    unloaded = [action.target for action in plan.actions if action.kind == "Unload"]
    losses = [f"replaces the applied profile {shorten_path(replaced)}"] if replaced else []
    return losses + ([f"unloads {', '.join(unloaded)}"] if unloaded else [])


def show_json(events: Iterator[ApplyEvent], terminal: Terminal) -> Ending:
    """Every event as one line of JSON."""
    ended = None
    failed: dict[str, str] = {}
    for event in events:
        terminal.show(msgspec.json.encode(event).decode())
        if isinstance(event, ApplyEnded):
            ended = event
        elif isinstance(event, ActionEnded):
            _remember(event.outcome, failed)
    return Ending(ended, failed)


def follow(events: Iterator[ApplyEvent], plan: Plan, terminal: Terminal) -> Ending:
    """Show the events to people; the plan only if it is not the one they have seen."""
    display: Display | None = None
    ended = None
    failed: dict[str, str] = {}
    try:
        for event in events:
            if isinstance(event, Planned):
                _show_news(event.plan, plan, terminal)
            elif isinstance(event, ApplyEnded):
                ended = event
            elif not _is_repetition(event, failed):
                display = display or _make_display(terminal)
                _pass_on(event, display)
    finally:
        if display is not None:
            display.close()
    if ended and ended.converged:
        where = f", {ended.address}" if ended.address else ""
        terminal.show(f"{paint('Converged:', 'good')} generation {ended.generation}{where}")
    return Ending(ended, failed)


def _is_repetition(event: ApplyEvent, failed: dict[str, str]) -> bool:
    """Whether it only says that what has failed is tried again, or failed again just so."""
    if isinstance(event, ActionStarted):
        return event.target in failed
    if not isinstance(event, ActionEnded):
        return False
    outcome = event.outcome
    is_known = outcome.error is not None and failed.get(outcome.target) == outcome.error
    _remember(outcome, failed)
    return is_known


def _remember(outcome: Outcome, failed: dict[str, str]) -> None:
    """Keep in `failed` how the last attempt at each target failed."""
    if outcome.error is None:
        failed.pop(outcome.target, None)
    else:
        failed[outcome.target] = outcome.error


def _show_news(plan: Plan, seen: Plan, terminal: Terminal) -> None:
    if plan.actions != seen.actions:
        terminal.tell(f"The plan has changed meanwhile:\n{render_plan(plan)}")


def _pass_on(event: ApplyEvent, display: Display) -> None:
    match event:
        case ActionStarted():
            display.start(event)
        case ActionProgress():
            display.advance(event)
        case ActionEnded(outcome):
            display.end(outcome)


def check_converged(ending: Ending) -> None:
    """Raises LmrunError when the apply did not end, or ended short of the profile."""
    ended = ending.event
    if ended is None:
        raise ServerUnreachable(
            "The server closed the connection before the profile was converged.",
            hint="`lmrun status` shows whether it runs.",
        )
    if not ended.converged:
        raise LmrunError(
            f"Generation {ended.generation} has not converged{_name_failures(ending.failed)}",
            hint="What failed is tried again; `lmrun status` shows how it stands.",
        )


def _name_failures(failed: Mapping[str, str]) -> str:
    """The first failure in full and how many more there are; the end of a sentence."""
    if not failed:
        return "."
    target, error = next(iter(failed.items()))
    more = len(failed) - 1
    return f": {target}: {error.rstrip('.')}, and {more} more." if more else f": {target}: {error}"


def _make_display(terminal: Terminal) -> Display:
    # Imported late: an apply that changes nothing has no use for it.
    from lmrun.cli.commands.progress import Bars, Lines

    return Bars() if terminal.is_live else Lines(terminal)


def down(*, terminal: Terminal, home: Home) -> None:
    """Unload everything and wait until the server is gone; no server is no failure."""
    control = Control(home.control_socket)
    if not control.is_listening():
        terminal.show("lmrun is not running.")
        return
    found = control.status()
    control.down()
    wait_until_stopped(home, found.server.pid)
    unloaded = sum(len(model.instances) for model in found.models)
    terminal.show(f"Stopped; {count(unloaded, 'instance')} unloaded.")
