"""Command lines with holes, and what arguments make of them: always the same elements, whatever an
argument says. Pure; nothing is run here.

`{name}` is an argument and stays within its element; `{{` and `}}` are braces. An element that
uses an argument which a call leaves out is left out whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmrun.errors import ToolInvalid
from lmrun.profile.tooling.templates.text import ArgumentRefused, split_text

MAX_ELEMENT_BYTES = 128 * 2**10 - 1
"""What Linux takes as one argument, without the NUL at its end."""

_INTERPRETERS = re.compile(
    r"(ba|da|z|k|mk|c|tc|fi|a)?sh|busybox|python[0-9.]*|perl[0-9.]*|ruby[0-9.]*|node|php[0-9.]*"
)
_SCRIPT_OPTION = re.compile(r"-[A-Za-z]*[ceErp]|--(eval|print|command)")


@dataclass(frozen=True, slots=True)
class _Hole:
    name: str


@dataclass(frozen=True, slots=True)
class _Element:
    """One element of the command line: literal text and holes."""

    parts: tuple[str | _Hole, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts if isinstance(part, _Hole))

    @property
    def literal(self) -> str | None:
        """Its text, where nothing is to be filled in."""
        return None if self.names else "".join(str(part) for part in self.parts)

    @property
    def begin(self) -> str:
        """The literal text that it begins with; empty where that is a hole."""
        return "" if not self.parts or isinstance(self.parts[0], _Hole) else self.parts[0]

    def fill(self, arguments: Mapping[str, Any]) -> str:
        return "".join(
            _to_text(part.name, arguments[part.name]) if isinstance(part, _Hole) else part
            for part in self.parts
        )


class CommandTemplate:
    """A command line as the profile has it. Raises ToolInvalid for one that no argument could be
    safe in."""

    def __init__(self, command: Sequence[str]) -> None:
        self._elements = [_parse(index, text) for index, text in enumerate(command)]
        if self._elements[0].literal is None:
            raise ToolInvalid(
                "this is the program, which no argument may choose",
                place=("command", 0),
                hint="Write its name out.",
            )
        _refuse_scripts(self._elements)

    @property
    def names(self) -> frozenset[str]:
        """The arguments that it uses."""
        return frozenset().union(*(element.names for element in self._elements))

    def fill(self, arguments: Mapping[str, Any]) -> list[str]:
        """The command line. A null is as good as nothing. Raises ArgumentRefused."""
        given = {name: value for name, value in arguments.items() if value is not None}
        argv: list[str] = []
        are_options_over = False
        for element in self._elements:
            if not element.names <= given.keys():
                continue
            text = element.fill(given)
            if text.startswith("-") and not element.begin and not are_options_over:
                raise ArgumentRefused(
                    f"`{min(element.names)}` begins with `-`, which the program would take for an "
                    "option; begin with something else, as ./-x for the path -x."
                )
            _refuse_too_long(element, text)
            are_options_over = are_options_over or element.literal == "--"
            argv.append(text)
        return argv


def check_element(index: int, text: str) -> None:
    """Raises ToolInvalid for an element that is wrong by itself."""
    _parse(index, text)


def _parse(index: int, text: str) -> _Element:
    pieces = split_text(text, ("command", index))
    return _Element(tuple(_Hole(it[0]) if isinstance(it, tuple) else it for it in pieces))


def _refuse_scripts(elements: Sequence[_Element]) -> None:
    """An argument inside a script would be part of a program, however it is quoted. This finds the
    usual mistake; it does not follow an interpreter through every program that could start one."""
    has_interpreter = expects_script = False
    for index, element in enumerate(elements):
        is_script_here = has_interpreter and _SCRIPT_OPTION.fullmatch(element.begin) is not None
        if element.names and (expects_script or is_script_here):
            raise ToolInvalid(
                f"this is a script, and `{{{min(element.names)}}}` in it would let an argument "
                "write a part of it",
                place=("command", index),
                hint="Hand it over as an argument of the script: "
                """`[sh, -c, 'ls -- "$1"', sh, "{path}"]`.""",
            )
        expects_script = is_script_here and element.literal is not None
        if not element.begin.startswith("-"):
            program = os.path.basename(element.literal or "")
            has_interpreter = _INTERPRETERS.fullmatch(program) is not None


def _to_text(name: str, value: Any) -> str:
    """Text as it is, all else as JSON."""
    is_text = isinstance(value, str)
    text = value if is_text else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if "\0" in text:
        raise ArgumentRefused(f"`{name}` holds a NUL character, which no program can be given.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ArgumentRefused(f"`{name}` holds half a surrogate pair, which is no character.")
    return str(text)


def _refuse_too_long(element: _Element, text: str) -> None:
    if len(text) > MAX_ELEMENT_BYTES or len(text.encode("utf-8", "replace")) > MAX_ELEMENT_BYTES:
        names = " and ".join(f"`{name}`" for name in sorted(element.names))
        raise ArgumentRefused(
            f"{names} is longer than {MAX_ELEMENT_BYTES} bytes, which no program can be given."
        )
