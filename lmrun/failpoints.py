"""Named points between the steps of every change, for tests that end the process right there.

A server has no switch for them, no variable and no field of a profile: nothing happens at a point
unless somebody who imports this module says what, and nobody in this package does. A test counts
the names in the code, and crashes a server at each of them.
"""

from __future__ import annotations

from collections.abc import Callable

on_reach: Callable[[str], None] | None = None
"""What is done at every point, with its name, in whatever thread is there."""


def reach(name: str) -> None:
    """This is the point `name`: `<change>.<what has just been done>`."""
    if on_reach is not None:
        on_reach(name)
