"""What a model's vocabulary and template make of a text, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as the model reads it: the template's text, and how many tokens it has."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a text. `pieces`: the bytes of each, perhaps part of a character; empty unless
    asked for."""

    ids: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()
