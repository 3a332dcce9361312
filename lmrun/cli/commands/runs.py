"""`lmrun runs`: what runs there are, and ending one. It fetches, then only draws."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lmrun.cli.client import Control, Refused
from lmrun.cli.commands.act import ask, connect, render_question
from lmrun.cli.commands.steps import render_call, shorten
from lmrun.cli.failures import count
from lmrun.cli.terminal import Style, Terminal, align, paint, printable
from lmrun.errors import LmrunError, RunConflict
from lmrun.store.home import Home
from lmrun.tools.act.requests import RunDetail, RunState, RunSummary
from lmrun.tools.act.stream import RunList
from lmrun.tools.policy import gate

_STYLES: dict[RunState, Style] = {
    "running": "change",
    "interrupted": "change",
    "completed": "good",
    "failed": "bad",
    "cancelled": "dim",
}
_MAX_TASK = 60

Said = gate.Reply
"""A reply to every question."""

_ANSWERED: dict[gate.Reply, str] = {
    "once": "It is run.",
    "session": "It is run, and the same call again until the run ends.",
    "always": "It is run, and the same call again in any run; `lmrun policy forget` ends that.",
    "no": "It is not run.",
}


def show_all(*, as_json: bool, terminal: Terminal, home: Home) -> None:
    """A line for each. Raises LmrunError."""
    data = connect(home).runs()
    if as_json:
        terminal.show(_format(data))
        return
    runs = msgspec.json.decode(data, type=RunList).data
    if not runs:
        terminal.tell("There are no runs.")
        return
    for line in align([_to_row(run) for run in runs]):
        terminal.show(line)
    for run in runs:
        if run.questions:
            what = f"{count(run.questions, 'call')} of {run.id}"
            terminal.tell(paint(f"! {what} to agree to: `lmrun runs approve {run.id}`.", "change"))


def show(run: str, *, as_json: bool, terminal: Terminal, home: Home) -> None:
    """One run with its calls. Raises LmrunError."""
    data = connect(home).run(run)
    terminal.show(_format(data) if as_json else render(msgspec.json.decode(data, type=RunDetail)))


def cancel(run: str, *, as_json: bool, terminal: Terminal, home: Home) -> None:
    """Stop one. Raises LmrunError."""
    data = connect(home).cancel(run)
    if as_json:
        terminal.show(_format(data))
        return
    terminal.show(f"Cancelled {msgspec.json.decode(data, type=RunSummary).id}.")


def approve(run: str, said: Said | None, *, terminal: Terminal, home: Home) -> None:
    """Answer the questions of a run. `said`: the reply to all of them; None: whoever sits here is
    asked. Raises LmrunError."""
    control = connect(home)
    if said is None and not terminal.can_ask:
        raise LmrunError(
            "There is nobody to ask.",
            hint="Run it at a terminal, or say --once, --session, --always or --deny.",
        )
    detail = msgspec.json.decode(control.run(run), type=RunDetail)
    if not detail.questions:
        terminal.tell(f"It asks nothing: it is {detail.summary.state}.")
    for question in detail.questions:
        if said is not None:
            terminal.tell(render_question(question))
        reply = said or ask(question, terminal)
        terminal.tell(f"  {_reply(run, question.id, reply, control)}")


def _reply(run: str, question: str, reply: gate.Reply, control: Control) -> str:
    """What becomes of the call."""
    try:
        control.approve(run, question, reply)
    except Refused as refused:
        if refused.code != RunConflict.code:
            raise
        return "Somebody else has answered, or nobody did in time."
    return _ANSWERED[reply]


def render(run: RunDetail) -> str:
    """Its head, its conversation a line each, and how it ended."""
    summary = run.summary
    state = paint(summary.state, _STYLES[summary.state])
    totals = f"{count(run.rounds, 'round')}, {count(run.calls, 'call')}"
    lines = [f"{paint(summary.id, 'strong')} {state} ({totals}) {printable(_who(summary))}"]
    for message in run.messages:
        text = message.content if isinstance(message.content, str) else "(with images)"
        if text:
            lines.append(f"  {paint(message.role, 'dim')} {printable(shorten(text))}")
        calls = (render_call(call.name, call.arguments) for call in message.tool_calls)
        lines += [f"  {paint('call', 'dim')} {printable(call)}" for call in calls]
    for question in run.questions:
        asked = printable(render_call(question.tool, question.arguments))
        lines.append(f"  {paint('waits for a reply', 'change')} {asked}")
    if run.failure is not None:
        why = " ".join(filter(None, (run.failure.message, run.failure.hint)))
        lines.append(f"  {paint('failed', 'bad')} {printable(why)}")
    return "\n".join(lines)


def _to_row(run: RunSummary) -> list[str]:
    began = datetime.fromtimestamp(run.created_at).strftime("%Y-%m-%d %H:%M:%S")
    task = shorten(run.task)[:_MAX_TASK]
    state = paint("asks", "change") if run.questions else paint(run.state, _STYLES[run.state])
    return [run.id, state, printable(_who(run)), began, printable(task)]


def _who(run: RunSummary) -> str:
    return run.agent or run.model


def _format(data: bytes) -> str:
    return msgspec.json.format(data, indent=2).decode()
