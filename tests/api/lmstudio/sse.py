"""Named server-sent events, read back."""

from __future__ import annotations

import json
from typing import Any


def read_named_events(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Each event's name and document, in order."""
    events = []
    for block in body.decode().split("\n\n"):
        if not block:
            continue
        name, data = block.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events
