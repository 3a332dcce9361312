"""What an MCP server asks, put at the terminal: field by field, or a page to go to. It knows
neither how a question comes here nor where the answer goes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from lmrun.cli.terminal import Terminal, paint, printable, set_in
from lmrun.tools.mcp.answering.faults import find_fault
from lmrun.tools.mcp.answering.forms import Choice, FormField, describe_kind, read_form
from lmrun.tools.mcp.answering.questions import Elicited
from lmrun.tools.mcp.reports import ElicitationAsked

_WORDS = {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False}


class _GivenUp(Exception):
    """Somebody ended the input in the middle of an answer."""


def ask(asked: ElicitationAsked, terminal: Terminal) -> Elicited:
    """What somebody says to it. The end of input gives the question up."""
    server, message = printable(asked.server), printable(asked.message).strip()
    message = set_in(message, terminal.columns, taken=len(f"? {server} asks: "))
    terminal.tell(f"{paint('?', 'change')} {paint(server, 'strong')} asks: {message}")
    try:
        if asked.url is not None:
            return _send_there(asked.url, terminal)
        return _ask_for_fields(asked.schema or {}, terminal)
    except _GivenUp:
        terminal.tell("")
        return Elicited("cancel")


def _send_there(url: str, terminal: Terminal) -> Elicited:
    """Nobody opens a page that a server has named but whoever agrees to it."""
    terminal.tell(f"  {printable(url)}")
    host = printable(urlsplit(url).netloc)
    refused = _agree(f"Will you go to {paint(host, 'strong')} yourself?", terminal)
    if refused is not None:
        return refused
    if terminal.read("  Enter, when you have done what it asks for there:") is None:
        raise _GivenUp
    return Elicited("accept")


def _ask_for_fields(schema: Mapping[str, Any], terminal: Terminal) -> Elicited:
    refused = _agree("Answer it?", terminal)
    return refused or Elicited("accept", dict(_read_fields(schema, terminal)))


def _agree(question: str, terminal: Terminal) -> Elicited | None:
    """None: yes. Anything unclear is a no."""
    typed = terminal.read(f"  {question} [y]es, [N]o, [c]ancel:")
    if typed is None:
        raise _GivenUp
    match typed.strip().lower():
        case "y" | "yes":
            return None
        case "c" | "cancel":
            return Elicited("cancel")
    return Elicited("decline")


def _read_fields(schema: Mapping[str, Any], terminal: Terminal) -> Iterator[tuple[str, Any]]:
    form = read_form(schema)
    for name, field in form.properties.items():
        is_required = name in form.required
        value = _read_field(name, field, schema, terminal, is_required=is_required)
        if value is not None:
            yield name, value


def _read_field(
    name: str,
    field: FormField,
    schema: Mapping[str, Any],
    terminal: Terminal,
    *,
    is_required: bool,
) -> Any:
    """A value that is right for the field, asked for until it is one; None: left out."""
    while True:
        about = set_in(describe_field(name, field, is_required), terminal.columns, taken=2)
        typed = terminal.read(f"  {about}:")
        if typed is None:
            raise _GivenUp
        if not typed and field.default is None and not is_required:
            return None
        try:
            value = _parse(typed, field)
        except ValueError as fault:
            terminal.tell(paint(f"  {printable(str(fault))}", "bad"))
            continue
        right = find_fault(name, value, schema)
        if right is None:
            return value
        terminal.tell(paint(f"  It must be {printable(right)}.", "bad"))


def _parse(typed: str, field: FormField) -> Any:
    if typed:
        return parse_value(typed, field)
    if field.default is None:
        raise ValueError("It must be answered; Ctrl-D gives the question up.")
    return field.default


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
    """`size (The size; an integer, at least 30; optional)`."""
    kind = describe_kind(field, boolean="yes or no", shows_titles=True)
    notes = [field.description or field.title or "", "" if kind == "text" else kind]
    if field.default is not None:
        notes.append(f"default {json.dumps(field.default, ensure_ascii=False)}")
    elif not is_required:
        notes.append("optional")
    noted = "; ".join(note for note in notes if note)
    return printable(" ".join((f"{name} ({noted})" if noted else name).split()))
