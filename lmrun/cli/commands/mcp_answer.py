"""`lmrun mcp answer`: somebody is there for questions of MCP servers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from lmrun.cli.client import Control
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.errors import ElicitationNotFound, LmrunError, ServerUnreachable
from lmrun.store.home import Home
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
    terminal.tell("Waiting for questions of MCP servers; Ctrl-C ends it.")
    with closing(control.elicitations()) as events:
        for event in events:
            if isinstance(event, ElicitationAsked):
                _deal_with(event, control, terminal)


def _deal_with(asked: ElicitationAsked, control: Control, terminal: Terminal) -> None:
    terminal.tell(f"{paint(printable(asked.server), 'strong')} asks: {printable(asked.message)}")
    try:
        content = _ask(asked, terminal)
    except _GivenUp:
        content = None
    try:
        control.answer_elicitation(
            asked.id, "decline" if content is None else "accept", content or {}
        )
    except LmrunError as error:
        if not _is_closed(error):
            raise
        terminal.tell(paint("The server does not wait for it any more.", "dim"))


def _is_closed(error: LmrunError) -> bool:
    return getattr(error, "code", None) == ElicitationNotFound.code


def _ask(asked: ElicitationAsked, terminal: Terminal) -> dict[str, Any] | None:
    """The answer; None: no."""
    if asked.url is not None:
        terminal.tell(f"  {printable(asked.url)}")
        return {} if terminal.ask("Have you done what it asks for there?") else None
    if not terminal.ask("Answer?"):
        return None
    return dict(_read_fields(asked.schema or {}, terminal))


def _read_fields(schema: Mapping[str, Any], terminal: Terminal) -> Iterator[tuple[str, Any]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        value = _read_field(name, field, terminal, is_required=name in required)
        if value is not None:
            yield name, value


def _read_field(
    name: str, field: Mapping[str, Any], terminal: Terminal, *, is_required: bool
) -> Any:
    """A value of the field's type, asked for until it is one; None: left out."""
    while True:
        typed = terminal.read(f"  {_describe(name, field, is_required)}:")
        if typed is None:
            raise _GivenUp
        if not typed:
            if "default" in field:
                return field["default"]
            if not is_required:
                return None
        try:
            return parse_value(typed, field)
        except ValueError as fault:
            terminal.tell(paint(f"  {fault}", "bad"))


def parse_value(typed: str, field: Mapping[str, Any]) -> Any:
    """What was typed as the JSON type that the schema wants. Raises ValueError, saying what would
    be right."""
    kind = field.get("type", "string")
    choices = field.get("enum")
    if kind == "array":
        return [parse_value(part.strip(), field.get("items", {})) for part in typed.split(",")]
    if kind == "boolean":
        if typed.lower() not in _WORDS:
            raise ValueError("It is yes or no.")
        return _WORDS[typed.lower()]
    if kind in ("integer", "number"):
        try:
            return int(typed) if kind == "integer" else float(typed)
        except ValueError:
            raise ValueError(f"It is a{'n' if kind == 'integer' else ''} {kind}.") from None
    if choices and typed not in choices:
        raise ValueError(f"It is one of {', '.join(map(str, choices))}.")
    return typed


def _describe(name: str, field: Mapping[str, Any], is_required: bool) -> str:
    notes = [str(field.get("description") or field.get("title") or "")]
    if choices := field.get("enum", field.get("items", {}).get("enum")):
        notes.append("one of " + ", ".join(map(str, choices)))
    if "default" in field:
        notes.append(f"default {json.dumps(field['default'])}")
    elif not is_required:
        notes.append("optional")
    told = "; ".join(note for note in notes if note)
    return printable(f"{name} ({told})" if told else name)
