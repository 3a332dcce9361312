"""`lmrun plan`: what would change, what it costs. It knows how a plan looks, not how it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lmrun.cli.client import Control
from lmrun.cli.commands.profiles import locate_profile, read_environment
from lmrun.cli.commands.saved_plans import save_plan
from lmrun.cli.failures import count
from lmrun.cli.terminal import Style, Terminal, paint, printable, show_bytes
from lmrun.reconcile.outcome import Action, ActionKind, FieldChange, MemoryPrice, Plan
from lmrun.store.home import Home

CHANGES = 2

_INDENT = " " * 14

_LOOKS: dict[ActionKind, tuple[str, Style]] = {
    "Listen": ("  +", "good"),
    "Load": ("  +", "good"),
    "Reload": ("-/+", "change"),
    "Update": ("  ~", "change"),
    "Unload": ("  -", "bad"),
}


@dataclass(frozen=True, slots=True)
class PlanWish:
    """What the command line asked for. `out`: a file that keeps the plan for `lmrun apply`."""

    path: Path
    as_json: bool = False
    detailed_exitcode: bool = False
    out: Path | None = None


def plan(wish: PlanWish, *, terminal: Terminal, home: Home, environment: Mapping[str, str]) -> int:
    """Show what an apply would do and return the exit code. Changes nothing, starts nothing."""
    file = locate_profile(wish.path)
    made, is_running = _make_plan(file, home, environment)
    if wish.out is not None:
        save_plan(made, file, wish.out)
    if wish.as_json:
        terminal.show(msgspec.json.format(msgspec.json.encode(made), indent=2).decode())
    else:
        terminal.show(render_plan(made))
        if not is_running:
            terminal.tell(paint("No server is running: compared with nothing loaded.", "dim"))
    if wish.out is not None:
        terminal.tell(f"Saved; `lmrun apply {wish.out}` does just this.")
    return CHANGES if wish.detailed_exitcode and not made.is_empty else 0


def _make_plan(file: Path, home: Home, environment: Mapping[str, str]) -> tuple[Plan, bool]:
    """The plan, and whether it was made by a running server."""
    control = Control(home.control_socket)
    if control.is_listening():
        return control.plan(file, read_environment(file, environment)), True
    from lmrun.reconcile.intake import plan_offline

    return plan_offline(file, environment, home), False


def render_plan(made: Plan) -> str:
    """One paragraph per action and a line that counts them."""
    if made.is_empty:
        return "No changes. What runs or is being loaded is what the profile says."
    lines = [line for action in made.actions for line in _render_action(action)]
    return "\n".join([*lines, "", _render_totals(made)])


def _render_action(action: Action) -> list[str]:
    symbol, style = _LOOKS[action.kind]
    named = f" ({action.model})" if action.model and action.model != action.target else ""
    facts = [action.target + named, *_render_costs(action)]
    head = f"{paint(f'{symbol} {action.kind.lower():<7}', style)} {printable(' · '.join(facts))}"
    changes = (_render_change(change, action.kind) for change in action.changes)
    return [head, *changes, *_render_problem(action.problem)]


def _render_problem(problem: str | None) -> list[str]:
    if problem is None:
        return []
    first, *rest = printable(problem).splitlines() or [""]
    return [paint(f"{_INDENT}! {first}", "bad"), *(f"{_INDENT}  {line}" for line in rest)]


def _render_costs(action: Action) -> list[str]:
    costs = []
    if action.fetch_bytes is None:
        costs.append("download, size not known yet")
    elif action.fetch_bytes:
        costs.append(f"download {show_bytes(action.fetch_bytes)}")
    if action.memory_bytes:
        sign = "+" if action.memory_bytes > 0 else "-"
        costs.append(f"{sign}{show_bytes(abs(action.memory_bytes))} memory")
    if action.seconds:
        costs.append(_show_seconds(action.seconds))
    if action.evicts:
        costs.append(f"evicts {', '.join(action.evicts)}")
    if action.rollout == "recreate":
        costs.append("requests wait meanwhile")
    return costs + _render_hit(action)


def _render_hit(action: Action) -> list[str]:
    """Who uses the instance now, and what becomes of that."""
    if not action.streams:
        return []
    requests = count(action.streams, "running request")
    whose = f" of {', '.join(action.clients)}" if action.clients else ""
    if action.kind == "Unload":
        return [f"ends {requests}{whose}"]
    return [f"{requests}{whose} {'finishes' if action.streams == 1 else 'finish'} first"]


def _show_seconds(seconds: float) -> str:
    return f"about {seconds:.1f} s" if seconds < 10 else f"about {seconds:.0f} s"


def _render_change(change: FieldChange, kind: ActionKind) -> str:
    """What is new stands alone; what is gone must not look like that, unless all of it is gone."""
    old = "(unset)" if change.old is None else change.old
    new = "(unset)" if change.new is None else change.new
    is_whole = change.new is None and kind == "Unload"
    values = new if change.old is None else old if is_whole else f"{old} → {new}"
    return paint(printable(f"{_INDENT}{change.field}: {values}"), "dim")


def _render_totals(made: Plan) -> str:
    kinds = Counter(action.kind for action in made.actions)
    parts = [f"{kinds[kind]} to {kind.lower()}" for kind in _LOOKS if kinds[kind]]
    fetched = sum(action.fetch_bytes or 0 for action in made.actions)
    download = f" Download: {show_bytes(fetched)}." if fetched else ""
    totals = f"{paint('Plan:', 'strong')} {', '.join(parts)}.{download}{_render_time(made)}"
    return "\n".join([totals, *_render_memory(made.memory)])


def _render_time(made: Plan) -> str:
    """The sum of what was measured: loads go one after another."""
    known = sum(action.seconds or 0.0 for action in made.actions)
    if not known:
        return ""
    more = ", and more for what was never loaded here"
    has_more = any(action.seconds is None for action in made.actions)
    return f" Time: {_show_seconds(known)}{more if has_more else ''}."


def _render_memory(memory: MemoryPrice) -> list[str]:
    if memory.before_bytes == memory.after_bytes == memory.peak_bytes:
        return []
    line = f"Memory: {show_bytes(memory.before_bytes)} → {show_bytes(memory.after_bytes)}"
    if memory.peak_bytes > max(memory.before_bytes, memory.after_bytes):
        line += f", {show_bytes(memory.peak_bytes)} on the way"
    if memory.free_bytes is not None:
        line += f"; {show_bytes(max(0, memory.free_bytes))} are free"
    return [f"{line}."]
