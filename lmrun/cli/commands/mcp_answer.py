"""`lmrun mcp answer`: somebody is there for questions of MCP servers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lmrun.cli.client import Control
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.errors import ElicitationNotFound, InvalidParameter, LmrunError, ServerUnreachable
from lmrun.store.home import Home
from lmrun.tools.mcp.answering.forms import Choice, Form, FormField, read_form
from lmrun.tools.mcp.reports import ElicitationAsked

_WORDS = {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False}


class _GivenUp(Exception):
    """Somebody ended the input in the middle of an answer."""


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
    with control.elicitations() as events:
        terminal.tell("Waiting for questions of MCP servers; Ctrl-C ends it.")
        for event in events:
            if isinstance(event, ElicitationAsked):
                _deal_with(event, control, terminal)


def _deal_with(asked: ElicitationAsked, control: Control, terminal: Terminal) -> None:
    terminal.tell(f"{paint(printable(asked.server), 'strong')} asks: {printable(asked.message)}")
    while True:
        try:
            content = _ask(asked, terminal)
        except _GivenUp:
            content = None
        try:
            control.answer_elicitation(
                asked.id, "decline" if content is None else "accept", content or {}
            )
            return
        except LmrunError as error:
            code = getattr(error, "code", None)
            if code == ElicitationNotFound.code:
                terminal.tell(paint("The server does not wait for it any more.", "dim"))
                return
            if code != InvalidParameter.code:
                raise
            terminal.tell(paint(f"  {printable(error.message)}", "bad"))


def _ask(asked: ElicitationAsked, terminal: Terminal) -> dict[str, Any] | None:
    """The answer; None: no."""
    if asked.url is not None:
        terminal.tell(f"  {printable(asked.url)}")
        return {} if terminal.ask("Have you done what it asks for there?") else None
    if not terminal.ask("Answer?"):
        return None
    return dict(_read_fields(read_form(asked.schema or {}), terminal))


def _read_fields(form: Form, terminal: Terminal) -> Iterator[tuple[str, Any]]:
    for name, field in form.properties.items():
        value = _read_field(name, field, terminal, is_required=name in form.required)
        if value is not None:
            yield name, value


def _read_field(name: str, field: FormField, terminal: Terminal, *, is_required: bool) -> Any:
    """A value of the field's type, asked for until it is one; None: left out."""
    while True:
        typed = terminal.read(f"  {describe_field(name, field, is_required)}:")
        if typed is None:
            raise _GivenUp
        if not typed and field.default is not None:
            return field.default
        if not typed and not is_required:
            return None
        try:
            return parse_value(typed, field)
        except ValueError as fault:
            terminal.tell(paint(f"  {printable(str(fault))}", "bad"))


def parse_value(typed: str, field: FormField) -> Any:
    """What was typed as the JSON type that the field wants. Raises ValueError, saying what would
    be right."""
    if field.type == "array":
        return [_choose(part.strip(), field.choices) for part in typed.split(",")]
    return _choose(_PARSERS[field.type](typed), field.choices)


def _choose(value: Any, choices: Sequence[Choice]) -> Any:
    if choices and value not in [choice.const for choice in choices]:
        raise ValueError(f"It is one of {', '.join(choice.const for choice in choices)}.")
    return value


def _parse_boolean(typed: str) -> bool:
    if typed.lower() not in _WORDS:
        raise ValueError("It is yes or no.")
    return _WORDS[typed.lower()]


def _parse_integer(typed: str) -> int:
    try:
        return int(typed)
    except ValueError:
        raise ValueError("It is an integer.") from None


def _parse_number(typed: str) -> float:
    with suppress(ValueError):
        number = float(typed)
        if math.isfinite(number):
            return number
    raise ValueError("It is a number.")


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "boolean": _parse_boolean,
    "integer": _parse_integer,
    "number": _parse_number,
}


def describe_field(name: str, field: FormField, is_required: bool) -> str:
    """`size (The size; one of S, M; optional)`."""
    notes = [field.description or field.title or ""]
    if field.choices:
        told = (f"{it.const} = {it.title}" if it.title else it.const for it in field.choices)
        notes.append(f"{'any' if field.type == 'array' else 'one'} of {', '.join(told)}")
    if field.default is not None:
        notes.append(f"default {json.dumps(field.default, ensure_ascii=False)}")
    elif not is_required:
        notes.append("optional")
    noted = "; ".join(note for note in notes if note)
    return printable(f"{name} ({noted})" if noted else name)
