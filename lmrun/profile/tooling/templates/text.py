"""Text with holes: `{name}` is an argument, `{{` and `}}` are braces. Pure; it knows no request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmrun.errors import ToolInvalid

Arguments = Mapping[str, Any]
Place = tuple[str | int, ...]
"""Within a tool's declaration: `("command", 2)`."""

PARTS = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<name>[A-Za-z_][A-Za-z0-9_]{0,63})\}|(?P<bad>[{}])")


class ArgumentRefused(ValueError):
    """An argument that cannot stand where the template has it. The message is for the model."""


def find_names(text: str) -> Iterator[str]:
    """The arguments that `text` uses, whatever else is wrong with it."""
    return (found["name"] for found in PARTS.finditer(text) if found["name"])


def split_text(text: str, place: Place) -> Iterator[str | tuple[str]]:
    """Literal pieces, none of them empty, and the names of arguments as one-element tuples. Raises
    ToolInvalid, without the text: it may hold a secret."""
    end = 0
    for found in PARTS.finditer(text):
        if found["bad"]:
            raise ToolInvalid(
                f"a brace stands alone, at character {found.start() + 1}",
                place=place,
                hint="An argument is `{name}`; a brace itself is written twice.",
            )
        if found.start() > end:
            yield text[end : found.start()]
        yield (found["name"],) if found["name"] else found["brace"][0]
        end = found.end()
    if end < len(text):
        yield text[end:]


@dataclass(frozen=True, slots=True)
class Text:
    """Literal pieces and holes, as `split_text` gives them."""

    pieces: tuple[str | tuple[str], ...]

    @classmethod
    def parse(cls, text: str, place: Place) -> Text:
        """Raises ToolInvalid."""
        return cls(tuple(split_text(text, place)))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(piece[0] for piece in self.pieces if isinstance(piece, tuple))

    @property
    def literal(self) -> str:
        """Everything but the holes."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def only_name(self) -> str | None:
        """The argument, when there is nothing else."""
        is_hole = len(self.pieces) == 1 and isinstance(self.pieces[0], tuple)
        return self.pieces[0][0] if is_hole else None

    def fill(self, arguments: Arguments) -> str | None:
        """None when an argument is left out."""
        if not self.names <= arguments.keys():
            return None
        return "".join(
            piece if isinstance(piece, str) else to_text(arguments[piece[0]])
            for piece in self.pieces
        )


def to_text(value: Any) -> str:
    """A value inside longer text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else to_json(value)


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
