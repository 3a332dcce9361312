"""`lmrun history` and `lmrun rollback`: what was applied before, and the way back to it.

It shows and asks; going back is the server's work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lmrun.cli.background import start_server
from lmrun.cli.client import Control
from lmrun.cli.commands.convergence import check_converged, follow, require_consent, show_json
from lmrun.cli.commands.plans import render_plan
from lmrun.cli.commands.profiles import shorten_path
from lmrun.cli.terminal import Style, Terminal, align, paint, printable
from lmrun.errors import GenerationUnknown, LmrunError
from lmrun.reconcile.records import GenerationRecord, History, StoredProfile
from lmrun.store.home import Home

_COLUMNS = ("GENERATION", "WHEN", "WHO", "HOW", "STATE", "PLAN", "FAILED", "PROFILE")
_STATE_STYLES: dict[str, Style] = {"converged": "good", "failed": "bad"}
_SHORTEST_WHEN = 19
"""Of `2026-11-25T10:00:00.000+00:00`, up to the second."""


@dataclass(frozen=True, slots=True)
class Return:
    """What the command line asked for. `number`: None is the last generation that converged before
    the current one. `is_agreed`: unloading needs no further question."""

    number: int | None
    is_agreed: bool = False
    as_json: bool = False


def history(*, as_json: bool, terminal: Terminal, home: Home) -> None:
    """Show what was applied, the newest first. Needs no server. Raises StoreError."""
    found = _read_history(home)
    if as_json:
        terminal.show(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    elif found.generations:
        terminal.show(render_history(found))
    else:
        terminal.show("Nothing was applied yet.")


def render_history(found: History) -> str:
    """One row per generation, and below it what failed."""
    rows = [_render_row(it) for it in found.generations]
    lines = align([_COLUMNS, *rows])
    shown = [lines[0]]
    for record, line in zip(found.generations, lines[1:], strict=True):
        shown.append(line)
        failed = (it for it in record.outcomes if it.error is not None)
        shown += [
            paint(printable(f"      ! {it.kind} {it.target}: {_first_line(it.error)}"), "dim")
            for it in failed
        ]
    return "\n".join(shown)


def _render_row(record: GenerationRecord) -> tuple[str, ...]:
    kinds = Counter(action.kind.lower() for action in record.plan)
    failed = sum(outcome.error is not None for outcome in record.outcomes)
    return (
        f"{record.number}{' *' if record.is_current else ''}",
        record.created[:_SHORTEST_WHEN].replace("T", " "),
        printable(record.author) or "-",
        printable(record.how) or "-",
        paint(record.state, _STATE_STYLES.get(record.state, "change")),
        ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "-",
        str(failed or "-"),
        printable(shorten_path(record.files[0])) if record.files else "-",
    )


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _read_history(home: Home) -> History:
    control = Control(home.control_socket)
    if control.is_listening():
        return control.history()
    if not home.database.exists():
        return History(())
    # Imported late: the server's side of the house takes its time.
    from lmrun.reconcile.history import read_history
    from lmrun.store.generations import Generations

    generations = Generations(home.database)
    try:
        return read_history(generations)
    finally:
        generations.close()


def rollback(
    wish: Return, *, terminal: Terminal, home: Home, environment: Mapping[str, str]
) -> None:
    """Apply an earlier generation again and say so. Raises LmrunError when that did not succeed."""
    number = choose_generation(_read_history(home), wish.number)
    control = Control(home.control_socket)
    if not control.is_listening():
        control = start_server(home, environment)
    values = _read_environment(control.generation(number), environment)
    plan = control.plan_rollback(number, values).plan
    if not wish.as_json:
        terminal.show(f"Back to generation {number}:\n{render_plan(plan)}")
    asked = require_consent(plan, None, wish.is_agreed, terminal)
    base_generation = plan.base_generation if asked else None
    events = control.roll_back(number, values, base_generation=base_generation)
    with closing(events):
        ending = show_json(events, terminal) if wish.as_json else follow(events, plan, terminal)
    check_converged(ending)
    terminal.tell(
        paint("The profile's files are as they were; the next apply of them counts.", "dim")
    )


def choose_generation(found: History, number: int | None) -> int:
    """The generation that is meant. Raises GenerationUnknown when there is none to go back to, and
    LmrunError when the current one is named."""
    newest = found.generations[0].number if found.generations else 0
    if number is None:
        good = (
            it.number for it in found.generations if it.state == "converged" and it.number < newest
        )
        number = next(good, None)
        if number is None:
            raise GenerationUnknown(
                "There is no earlier generation that has converged.",
                hint="`lmrun history` lists those that are kept; name one.",
            )
    if number not in {it.number for it in found.generations}:
        raise GenerationUnknown(
            f"There is no generation {number}.", hint="`lmrun history` lists those that are kept."
        )
    if found.generations[0].is_current and number == newest:
        raise LmrunError(f"Generation {number} is the current one; nothing was changed.")
    return number


def _read_environment(stored: StoredProfile, environment: Mapping[str, str]) -> dict[str, str]:
    """The values of the variables that a stored profile refers to, as far as they are set."""
    from lmrun.profile.environment import referenced_environment

    texts = {Path(path): text for path, text in stored.texts}

    def read(path: Path) -> str:
        if path not in texts:
            raise FileNotFoundError(path)
        return texts[path]

    names = referenced_environment(Path(stored.root), read)
    return {name: environment[name] for name in sorted(names) if name in environment}
