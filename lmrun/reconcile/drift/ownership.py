"""Who changed an instance by hand: every way in has its own name for itself. It knows no field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime


def cli_owner(user: str) -> str:
    """A user of this machine, over the unix socket: `cli:ada`."""
    return f"cli:{user}"


def api_owner(key: str | None) -> str:
    """A client of the HTTP port, by its API key's name: `api:ci`; `api` where none is asked for."""
    return f"api:{key}" if key else "api"


@dataclass(frozen=True, slots=True)
class HandChange:
    """An instance was loaded or unloaded by `owner`. `since`: ISO 8601 in UTC."""

    owner: str
    since: str


def utc_now() -> str:
    """ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class HandChanges:
    """Which instances differ from the profile because somebody changed them, by identifier.

    The last one who changes an instance owns all of its fields: a load sets them all.
    """

    def __init__(self, now: Callable[[], str] = utc_now) -> None:
        self._now = now
        self._known: dict[str, HandChange] = {}

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._known

    @property
    def identifiers(self) -> frozenset[str]:
        return frozenset(self._known)

    def without(self, identifiers: Set[str]) -> Mapping[str, HandChange]:
        """All but those of these instances."""
        return {name: it for name, it in self._known.items() if name not in identifiers}

    def note(self, identifier: str, owner: str) -> None:
        self._known[identifier] = HandChange(owner, self._now())

    def forget(self, identifier: str) -> None:
        """It is the profile's again."""
        self._known.pop(identifier, None)

    def keep_only(self, identifiers: Set[str]) -> None:
        """The others are as the profile has them again."""
        self._known = {name: it for name, it in self._known.items() if name in identifiers}

    def forget_all(self) -> None:
        self._known.clear()
