"""The form that a server asks somebody to fill in: the few kinds of fields that the protocol has.
It knows nobody who fills it in, and checks no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Literal

import msgspec

from lmrun.errors import McpProtocol


class Choice(msgspec.Struct, frozen=True):
    """A value that may be chosen; `title`: what people are shown beside it."""

    const: str
    title: str | None = None


class FormItems(msgspec.Struct, frozen=True, rename="camel"):
    """What a list may hold; neither: any text."""

    enum: tuple[str, ...] = ()
    any_of: tuple[Choice, ...] = ()


class FormField(msgspec.Struct, frozen=True, rename="camel"):
    """One field. `default`: what it is where nothing is said; None: nothing."""

    type: Literal["string", "number", "integer", "boolean", "array"]
    title: str | None = None
    description: str | None = None
    default: Any = None
    enum: tuple[str, ...] = ()
    enum_names: tuple[str, ...] = ()
    one_of: tuple[Choice, ...] = ()
    items: FormItems = FormItems()

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Those that it, or each of its items, may be; none: anything of its type."""
        if self.type == "array":
            return self.items.any_of or tuple(map(Choice, self.items.enum))
        names = self.enum_names[: len(self.enum)]
        return self.one_of or tuple(Choice(*it) for it in zip_longest(self.enum, names))


class Form(msgspec.Struct, frozen=True):
    """Fields by name; those in `required` must be there."""

    type: Literal["object"]
    properties: dict[str, FormField]
    required: tuple[str, ...] = ()


def read_form(schema: Mapping[str, Any]) -> Form:
    """The form that a question's schema means. Raises McpProtocol for one that is none."""
    try:
        return msgspec.convert(dict(schema), Form)
    except msgspec.ValidationError as error:
        raise McpProtocol(f"It asks for what nobody can fill in: {error}.") from None
