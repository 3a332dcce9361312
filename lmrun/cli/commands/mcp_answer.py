"""`lmrun mcp answer`: somebody is there for questions of MCP servers."""

from __future__ import annotations

from functools import partial

from lmrun.cli.client import Control
from lmrun.cli.commands import elicitations
from lmrun.cli.commands.questions import Until, put
from lmrun.cli.listening import Listening
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.errors import ElicitationNotFound, InvalidParameter, LmrunError, ServerUnreachable
from lmrun.store.home import Home
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed, ElicitationEvent


def answer(*, terminal: Terminal, home: Home) -> None:
    """Show each question and put its fields, until the server ends. Raises LmrunError where nobody
    can type."""
    if not terminal.can_ask:
        raise LmrunError(
            "Questions can be answered at a terminal only.",
            hint="Programs follow GET /lmrun/v1/elicitations on the unix socket.",
        )
    control = Control(home.control_socket)
    if not control.is_listening():
        raise ServerUnreachable("lmrun is not running.", hint="`lmrun apply PROFILE` starts it.")
    with control.elicitations() as events, Listening(events) as listening:
        terminal.tell("Waiting for questions of MCP servers; Ctrl-C ends it.")
        for event in listening:
            if isinstance(event, ElicitationAsked):
                until = Until(listening, partial(_closes, event.id))
                put(partial(deal_with, event, control), terminal, until)


def _closes(id: str, event: ElicitationEvent) -> bool:
    return isinstance(event, ElicitationClosed) and event.id == id


def deal_with(asked: ElicitationAsked, control: Control, terminal: Terminal) -> None:
    """Ask until there is an answer that the server takes."""
    while True:
        said = elicitations.ask(asked, terminal)
        try:
            control.answer_elicitation(asked.id, said.action, said.content or {})
            return
        except LmrunError as error:
            code = getattr(error, "code", None)
            if code == ElicitationNotFound.code:
                terminal.tell(paint("  The server does not wait for it any more.", "dim"))
                return
            if code != InvalidParameter.code:
                raise
            for line in printable(error.message).splitlines():
                terminal.tell(paint(f"  {line}", "bad"))
