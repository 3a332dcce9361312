"""What the server's settings say about memory, as one value that may change at any time."""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.runtime.residency.eviction import Policy


@dataclass(frozen=True, slots=True)
class Rules:
    """`limit_bytes`: of all instances together; None: whatever there is."""

    limit_bytes: int | None = None
    policy: Policy = "memory"
