"""What instances take of the memory, as numbers. Pure: it measures nothing.

Pages of a file that several instances map are there once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lmrun.catalog.memory import Estimate


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes: `private` ones, and `mapped` ones of the file at `path`, shared with whoever maps
    the same."""

    private: int
    mapped: int
    path: Path

    @property
    def total(self) -> int:
        return self.private + self.mapped

    def at_least(self, other: Claim) -> Claim:
        """Enough for either of both."""
        return replace(
            self,
            private=max(self.private, other.private),
            mapped=max(self.mapped, other.mapped),
        )


def claim_estimated(estimate: Estimate, path: Path, *, is_mapped: bool) -> Claim:
    """The most that a load is estimated to take, its prefix cache full."""
    mapped = estimate.weights if is_mapped else 0
    return Claim(estimate.total - mapped, mapped, path)


def claim_measured(estimate: Estimate, path: Path, measured: int, *, is_mapped: bool) -> Claim:
    """What such a load was seen to take, in bytes without its prefix cache; and that one full."""
    mapped = min(estimate.weights, measured) if is_mapped else 0
    return Claim(measured - mapped + estimate.prefix_cache, mapped, path)


def sum_claims(claims: Iterable[Claim]) -> int:
    """Bytes that these take together."""
    private = 0
    mapped: dict[Path, int] = {}
    for claim in claims:
        private += claim.private
        mapped[claim.path] = max(mapped.get(claim.path, 0), claim.mapped)
    return private + sum(mapped.values())


def count_freed(identifier: str, claims: Mapping[str, Claim]) -> int:
    """Bytes that the end of one instance gives back for certain."""
    rest = [claim for name, claim in claims.items() if name != identifier]
    return sum_claims(claims.values()) - sum_claims(rest)
