"""Why an instance is in memory and how long it may be idle there. A value: it knows no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["declared", "jit", "hand"]


@dataclass(frozen=True, slots=True)
class Residency:
    """`origin`: the profile keeps it loaded, a request has loaded it, or a client by hand.
    `ttl_s`: what the profile gives those that requests load; `asked_ttl_s`: what the request or
    the client who loaded it said, which counts more. `is_pinned`: nothing unloads it but a person.
    """

    origin: Origin = "declared"
    ttl_s: float | None = None
    asked_ttl_s: float | None = None
    is_pinned: bool = False

    @property
    def idle_limit_s(self) -> float | None:
        """Seconds it may be idle; None for as long as it likes."""
        if self.origin == "declared" or self.is_pinned:
            return None
        if self.origin == "hand" or self.asked_ttl_s is not None:
            return self.asked_ttl_s
        return self.ttl_s

    @property
    def is_evictable(self) -> bool:
        """Whether it makes room for others: what somebody asked for by name does not."""
        return self.origin == "jit" and not self.is_pinned


DECLARED = Residency()
