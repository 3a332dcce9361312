"""Who holds which sessions of lmrun's MCP server, so that nobody holds all of them. It knows no
protocol, and ends none itself.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lmrun.api.errors import TooManySessions


@dataclass(slots=True)
class _Session:
    """`uses`: requests that are being answered."""

    used_at: float
    uses: int = 0


class Sessions:
    """`most`: of one holder, who is a name that says so in messages. `idle_s`: after which one that
    is not used has ended by itself."""

    def __init__(
        self, most: int, idle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._idle_s = idle_s
        self._clock = clock
        self._held: dict[str, OrderedDict[str, _Session]] = {}
        self._opening: Counter[str] = Counter()

    @contextmanager
    def opening(self, holder: str) -> Iterator[str | None]:
        """A place for one more session during the block, in which it may be `add`ed. Gives the one
        that has to be ended for it: clients that were started again do not say that they have
        gone. Raises TooManySessions where all are in use."""
        given_up = self._make_room(holder)
        self._opening[holder] += 1
        try:
            yield given_up
        finally:
            self._opening[holder] -= 1
            if not self._opening[holder]:
                del self._opening[holder]

    def add(self, holder: str, session: str) -> None:
        """It has begun."""
        self._held.setdefault(holder, OrderedDict())[session] = _Session(self._clock())

    @contextmanager
    def using(self, holder: str, session: str) -> Iterator[None]:
        """A request of it is answered during the block."""
        used = self._find(holder).get(session)
        if used is None:
            yield
            return
        used.uses += 1
        try:
            yield
        finally:
            used.uses -= 1
            used.used_at = self._clock()
            held = self._find(holder)
            if session in held:
                held.move_to_end(session)

    def remove(self, holder: str, session: str) -> None:
        """It has ended."""
        held = self._find(holder)
        held.pop(session, None)
        if not held:
            self._held.pop(holder, None)

    def _make_room(self, holder: str) -> str | None:
        for session in self._find_stale(holder):
            self.remove(holder, session)
        held = self._find(holder)
        if len(held) + self._opening[holder] < self._most:
            return None
        idle = next((session for session, it in held.items() if not it.uses), None)
        if idle is None:
            raise TooManySessions(
                f"All {self._most} sessions that {holder} may have are in use.",
                hint="End one with DELETE, or speak revision 2026-07-28, which has no sessions.",
            )
        self.remove(holder, idle)
        return idle

    def _find(self, holder: str) -> OrderedDict[str, _Session]:
        """Those of a holder, the one that was not used for the longest time first."""
        return self._held.get(holder) or OrderedDict()

    def _find_stale(self, holder: str) -> list[str]:
        since = self._clock() - self._idle_s
        held = self._find(holder)
        return [session for session, it in held.items() if not it.uses and it.used_at < since]
