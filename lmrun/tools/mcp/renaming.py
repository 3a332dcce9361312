"""An error of a server under another message, for whoever has named the server. Pure."""

from __future__ import annotations

from typing import TypeVar

from lmrun.errors import LmrunError

ErrorT = TypeVar("ErrorT", bound=LmrunError)


def renamed(error: ErrorT, message: str) -> ErrorT:
    """The same with `message`. `error` itself stays: a server keeps it, and raises it again."""
    twin = type(error).__new__(type(error), message)
    twin.__dict__.update(error.__dict__)
    twin.message = message
    return twin
