"""The form that a server asks somebody to fill in: the few kinds of fields that the protocol has.
It knows nobody who fills it in, and checks no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, Literal

import msgspec

from lmrun.errors import McpProtocol

MAX_NAME = 80


class Choice(msgspec.Struct, frozen=True):
    """A value that may be chosen; `title`: what people are shown beside it."""

    const: str
    title: str | None = None


class FormItems(msgspec.Struct, frozen=True, rename="camel"):
    """What a list may hold; neither: any text."""

    enum: tuple[str, ...] = ()
    any_of: tuple[Choice, ...] = ()


class FormField(msgspec.Struct, frozen=True, rename="camel"):
    """One field. `default`: what it is where nothing is said; None: nothing. Lengths in characters;
    `format` is a word for people, which nothing checks."""

    type: Literal["string", "number", "integer", "boolean", "array"]
    title: str | None = None
    description: str | None = None
    default: Any = None
    enum: tuple[str, ...] = ()
    enum_names: tuple[str, ...] = ()
    one_of: tuple[Choice, ...] = ()
    items: FormItems = FormItems()
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    pattern: str | None = None
    format: str | None = None

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
        form = msgspec.convert(dict(schema), Form)
    except msgspec.ValidationError as error:
        raise McpProtocol(f"It asks for what nobody can fill in: {error}.") from None
    for name in form.required:
        if name not in form.properties:
            raise McpProtocol(
                f"It asks for what nobody can fill in: {name[:MAX_NAME]!r} is required, and no "
                "field of the form."
            )
    return form


_KINDS = {"string": "text", "number": "a number", "integer": "an integer"}
_FORMATS = {
    "email": "an email address",
    "uri": "a URL",
    "date": "a date like 2026-11-29",
    "date-time": "a time like 2026-11-29T12:00:00Z",
}


def describe_kind(
    field: FormField, *, boolean: str = "true or false", shows_titles: bool = False
) -> str:
    """What is right for it: `an integer, at least 30`. `boolean`: what one is called.
    `shows_titles`: of choices that have some."""
    if field.type == "boolean":
        return boolean
    if field.choices:
        names = ", ".join(
            f"{it.const} = {it.title}" if it.title and shows_titles else it.const
            for it in field.choices
        )
        kind = f"any of {names}" if field.type == "array" else f"one of {names}"
    elif field.type == "array":
        kind = "a list of texts"
    else:
        kind = _FORMATS.get(field.format or "", _KINDS[field.type])
    return ", ".join([kind, *_describe_bounds(field)])


def _describe_bounds(field: FormField) -> Iterator[str]:
    bounds = (
        ("at least", field.minimum, ""),
        ("at most", field.maximum, ""),
        ("at least", field.min_length, " characters"),
        ("at most", field.max_length, " characters"),
        ("at least", field.min_items, " of them"),
        ("at most", field.max_items, " of them"),
    )
    for word, bound, what in bounds:
        if bound is not None:
            yield f"{word} {bound:g}{what}"
    if field.pattern is not None:
        yield f"that matches {field.pattern}"
