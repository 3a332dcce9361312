"""`lmrun act`: a task that a model does with tools, as it goes on; and `lmrun chat --tools`.

It decides nothing about calls: the profile's policy does, and whoever sits at the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import msgspec

from lmrun.cli.client import Control, Refused
from lmrun.cli.commands.prompt import (
    Question,
    choose_model,
    choose_settings,
    make_messages,
)
from lmrun.cli.commands.questions import Until, put
from lmrun.cli.commands.steps import Steps, shorten
from lmrun.cli.listening import Listening
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.errors import LmrunError, ServerUnreachable
from lmrun.profile.tooling.naming import matches
from lmrun.store.home import Home
from lmrun.tools.act.events import (
    ActEnd,
    ApprovalNeeded,
    CallFailed,
    CallProgress,
    CallSucceeded,
    RoundEnd,
    RoundStart,
)
from lmrun.tools.act.requests import RunDetail, RunSummary
from lmrun.tools.act.stream import RunEvent, RunStarted
from lmrun.tools.mcp.pins.definitions import reveal
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed
from lmrun.tools.policy import gate

_REPLIES: Mapping[str, gate.Reply] = {
    "y": "once",
    "yes": "once",
    "s": "session",
    "session": "session",
    "a": "always",
    "always": "always",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What the command line asked for: a question to a model with `tools` and perhaps a `preset`,
    or to an `agent`; `context`: resources of MCP servers. None leaves a limit to the agent, or the
    usual."""

    question: Question
    agent: str | None = None
    tools: tuple[str, ...] = ()
    max_rounds: int | None = None
    preset: str | None = None
    context: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`as_json`: events as JSON lines, and nobody is asked."""

    terminal: Terminal
    home: Home
    as_json: bool = False

    @property
    def can_ask(self) -> bool:
        return self.terminal.can_ask and not self.as_json


def act(task: Task, around: Surroundings) -> None:
    """Have it done, and show how. Leaving early, by Ctrl-C, cancels it. Raises LmrunError."""
    control = connect(around.home)
    is_there = {"approvals": around.can_ask, "elicitations": around.can_ask}
    body = make_body(task, control) | is_there
    try:
        follow(control.act(body), control, around)
    except LmrunError:
        _tell_troubles(body, control, around)
        raise
    _tell_troubles(body, control, around)


def begin(task: Task, around: Surroundings) -> None:
    """Have it done in the background, and say which run it is. What it asks can be answered later
    where somebody sits now. Raises LmrunError."""
    control = connect(around.home)
    data = control.begin(make_body(task, control) | {"approvals": around.can_ask})
    if around.as_json:
        around.terminal.show(data.decode())
        return
    run = msgspec.json.decode(data, type=RunDetail).summary
    around.terminal.show(run.id)
    hints = [f"`lmrun runs show {run.id}` shows how far it is."]
    if around.can_ask:
        hints.append(f"`lmrun runs approve {run.id}` answers what it asks.")
    else:
        hints.append("What the policy asks about is denied: nobody sits at a terminal.")
    for hint in hints:
        around.terminal.tell(paint(hint, "dim"))


def resume(run: str, around: Surroundings) -> None:
    """Go on with a run, and show it from its beginning. Raises LmrunError."""
    control = connect(around.home)
    can_ask = around.can_ask
    follow(control.resume(run, approvals=can_ask, elicitations=can_ask), control, around)


def connect(home: Home) -> Control:
    """The server's. Raises ServerUnreachable."""
    control = Control(home.control_socket)
    if not control.is_listening():
        raise ServerUnreachable("lmrun is not running.", hint="`lmrun apply PROFILE` starts it.")
    return control


def make_body(task: Task, control: Control) -> dict[str, Any]:
    """The body of POST /lmrun/v1/act; what nobody chose is not in it."""
    question = task.question
    who = {"agent": task.agent}
    if task.agent is None:
        found = control.status()
        agents = [] if found.tools is None else [agent.name for agent in found.tools.agents]
        who = {"model": choose_model(question.model, found, lambda: agents)}
    body: dict[str, Any] = {
        **who,
        "messages": make_messages(question),
        "prediction": choose_settings(question),
    }
    if task.tools:
        body["tools"] = list(task.tools)
    if task.preset is not None:
        body["preset"] = task.preset
    if task.context:
        body["context"] = list(task.context)
    if task.max_rounds is not None:
        body["limits"] = {"max_rounds": task.max_rounds}
    return body


def _tell_troubles(body: Mapping[str, Any], control: Control, around: Surroundings) -> None:
    """Why some of its tools were not there, which the model does not know. Shown at the end: a
    server is started when it is needed."""
    if around.as_json:
        return
    # Whatever ended the run is what counts.
    with suppress(LmrunError):
        found = control.status().tools
        if found is None:
            return
        agents = {agent.name: agent.tools for agent in found.agents}
        name = body.get("agent") or body.get("model", "")
        patterns = agents.get(name, body.get("tools", ()))
        for trouble in found.troubles:
            if any(_concerns(pattern, trouble.subject) for pattern in patterns):
                line = printable(f"! {trouble.subject}: {trouble.message}")
                around.terminal.tell(paint(line, "bad"))


def _concerns(pattern: str, subject: str) -> bool:
    """Whether tools that `pattern` means are what is in trouble."""
    section, _, name = subject.partition(".")
    if section == "tools":
        return matches(pattern, name)
    parts = pattern.split("/")
    return pattern == "*" or (parts[0] == "mcp" and fnmatchcase(name, parts[1]))


def follow(events: Iterable[bytes], control: Control, around: Surroundings) -> None:
    """Show a run until it ends. Raises LmrunError when it does not end well."""
    with Listening(_read(events)) as listening:
        following = Following(control, around, listening)
        try:
            for heard in listening:
                following.take(heard)
        except KeyboardInterrupt:
            following.steps.close()
            following.cancel()
            raise
        finally:
            following.steps.close()
    end = following.end
    if end is None:
        raise ServerUnreachable(
            "The server closed the connection before the run had ended.",
            hint="`lmrun runs list` shows what became of it.",
        )
    if end.stop_reason in ("maxPredictedTokensReached", "contextLengthReached"):
        around.terminal.tell(
            paint("The answer was cut off: --max-tokens, or the context, is used up.", "dim")
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """`data`: the event, as JSON."""

    data: bytes
    event: RunEvent


class Following:
    """A run that is followed; `listening`: its further events. `end`: its last one, once it has
    come."""

    def __init__(self, control: Control, around: Surroundings, listening: Listening[Heard]) -> None:
        self._control = control
        self._around = around
        self._listening = listening
        self._run: RunSummary | None = None
        self.steps = Steps(around.terminal)
        self.end: ActEnd | None = None

    def take(self, heard: Heard) -> None:
        """The next event."""
        event = heard.event
        if isinstance(event, RunStarted):
            self._run = event.run
        elif isinstance(event, ActEnd):
            self.end = event
        if self._around.as_json:
            self._around.terminal.show(heard.data.decode())
        elif isinstance(event, ApprovalNeeded):
            self._ask(partial(self._approve, event.question), partial(_settles, event.index))
        elif isinstance(event, ElicitationAsked):
            # Imported late: few runs have a use for it, and what checks forms takes its time.
            from lmrun.cli.commands.mcp_answer import deal_with

            self._ask(partial(deal_with, event, self._control), partial(_closes, event.id))
        elif not isinstance(event, ElicitationClosed):
            self.steps.take(event)

    def cancel(self) -> None:
        """Stop it, and wait until it has stopped."""
        if self._run is None:
            return
        # It may have ended already, or have been stopped when its connection was closed.
        with suppress(LmrunError):
            self._control.cancel(self._run.id)
        self._around.terminal.tell(f"\nCancelled {self._run.id}.")

    def _ask(
        self, question: Callable[[Terminal], None], withdraws: Callable[[Heard], bool]
    ) -> None:
        self.steps.close()
        put(question, self._around.terminal, Until(self._listening, withdraws))

    def _approve(self, question: gate.Question, terminal: Terminal) -> None:
        assert self._run is not None, "the first event says which run it is"
        reply = ask(question, terminal)
        # Another terminal may have answered meanwhile, or nobody in time.
        with suppress(Refused):
            self._control.approve(self._run.id, question.id, reply)


def ask(question: gate.Question, terminal: Terminal) -> gate.Reply:
    """What somebody at the terminal says about a call; anything unclear is a no."""
    terminal.tell(render_question(question))
    answer = terminal.choose("  Run it? [y]es, for this [s]ession, [a]lways, [N]o:")
    return _REPLIES.get(answer, "no")


def render_question(question: gate.Question) -> str:
    """What is asked, with every argument whole: what is not seen cannot be agreed to."""
    lines = [f"{paint('?', 'change')} {paint(reveal(question.tool), 'strong')}"]
    for name, value in question.arguments.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        first, *rest = reveal(text).split("\n")
        lines += [f"  {paint(reveal(name), 'dim')} {first}", *(f"    {line}" for line in rest)]
    notes = (note for note in (question.description, question.reason) if note)
    return "\n".join([*lines, *(paint(f"  {reveal(shorten(note))}", "dim") for note in notes)])


def _settles(index: int, heard: Heard) -> bool:
    """Whether the call of `index` was agreed to, or given up; or what is read before a round."""
    event = heard.event
    if isinstance(event, CallSucceeded | CallFailed | CallProgress):
        return event.index == index
    return isinstance(event, RoundStart | RoundEnd)


def _closes(id: str, heard: Heard) -> bool:
    return isinstance(heard.event, ElicitationClosed) and heard.event.id == id


def _read(events: Iterable[bytes]) -> Iterator[Heard]:
    return (Heard(data, _decode(data)) for data in events)


def _decode(data: bytes) -> RunEvent:
    try:
        event: RunEvent = msgspec.json.decode(data, type=RunEvent)
    except msgspec.MsgspecError as error:
        raise LmrunError(
            f"The server's answer is not one this lmrun understands: {error}.",
            hint="Is the server of another version? `lmrun down` and apply again.",
        ) from error
    return event
