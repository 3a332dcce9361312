"""The program: `main` runs the server with the behaviour of that name."""

from __future__ import annotations

from tests.support.mcp_fake import asking, broken, ends, floods, library, lists, tasks
from tests.support.mcp_fake.server import BEHAVIOURS, server

__all__ = ["asking", "broken", "ends", "floods", "library", "lists", "main", "tasks"]


def main(behaviour: str) -> None:
    BEHAVIOURS[behaviour]()
    server.run()
